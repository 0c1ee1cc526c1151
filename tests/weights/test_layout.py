"""Shapes tell the configuration: of the goldens' networks and of every full-size table."""

from typing import Any

import pytest
import torch

from latentsync.errors import UserError
from latentsync.weights.layout import syncnet_config, temporal_layers, unet_config

UNSEEN = ("sample_size", "motion_module_kwargs")  # no shape shows the first; the second is compared by itself


@pytest.mark.parametrize("name", ["unet_spatial", "unet_temporal"])
def test_unet_configuration_is_read_off_its_shapes(name: str, manifest: dict[str, Any], golden_state: Any) -> None:
    told, expected = unet_config(golden_state(name)), manifest[name]["config"]
    assert {k: v for k, v in told.items() if k not in UNSEEN} == {k: v for k, v in expected.items() if k not in UNSEEN}


@pytest.mark.parametrize(
    ("table", "layout"),
    [
        ("unet_stage1_state_dict", "none"),
        ("unet_stage2_state_dict", "all"),
        ("unet_stage2_efficient_state_dict", "decoder"),
    ],
)
def test_full_size_tables_tell_their_temporal_layout(table: str, layout: str, key_table: Any) -> None:
    state = key_table(table)
    told = unet_config(state)
    assert temporal_layers(state) == layout
    assert told["block_out_channels"] == [320, 640, 1280, 1280]
    assert (told["layers_per_block"], told["cross_attention_dim"], told["in_channels"]) == (2, 384, 13)
    if layout != "none":
        assert told["motion_module_kwargs"]["temporal_position_encoding_max_len"] == 24
        assert len(told["motion_module_kwargs"]["attention_block_types"]) == 2


def test_syncnet_configuration_is_read_off_its_shapes(manifest: dict[str, Any], golden_state: Any) -> None:
    assert syncnet_config(golden_state("stable_syncnet")) == manifest["stable_syncnet"]["config"]


def test_unknown_syncnet_layout_and_other_weights_are_refused(golden_state: Any) -> None:
    state = {k: v for k, v in golden_state("stable_syncnet").items() if "down_blocks.9" not in k}
    with pytest.raises(UserError, match="--config"):
        syncnet_config(state)
    with pytest.raises(UserError, match="not a StableSyncNet"):
        syncnet_config({"a": torch.zeros(1)})
    with pytest.raises(UserError, match="not a LatentSync U-Net"):
        unet_config({"a": torch.zeros(1)})
