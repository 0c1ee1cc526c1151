"""The U-Net's configuration is told by its shapes; version 1.0's names are ours after renaming; what it is made for."""

from typing import Any

import pytest
import torch

from latentsync.errors import UserError
from latentsync.weights.adapter import recognise
from latentsync.weights.unet import AUDIO, V1_AUDIO, Fit, UNetAdapter, renamed, temporal_layers, unet_config

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


def test_other_weights_are_refused() -> None:
    with pytest.raises(UserError, match="not a LatentSync U-Net"):
        unet_config({"a": torch.zeros(1)})


def test_what_is_told_goes_into_metadata_and_the_rest_is_left_out() -> None:
    config = {"cross_attention_dim": 384, "in_channels": 13, "use_motion_module": True, "resolution": 256}
    assert Fit.of(config).as_metadata() == {
        "resolution": "256",
        "audio_width": "384",
        "in_channels": "13",
        "temporal_layers": "all",
    }


def test_file_of_version_1_0_has_stage_1s_network_under_other_names(key_table: Any) -> None:
    stage1 = key_table("unet_stage1_state_dict")
    published = {renamed(key, AUDIO, V1_AUDIO): value for key, value in stage1.items()}
    assert published.keys() != stage1.keys()
    weights = recognise({"state_dict": published, "global_step": 1})
    assert weights.kind == "unet"
    assert {key: value.shape for key, value in weights.state.items()} == {k: v.shape for k, v in stage1.items()}
    assert any("1.0" in note for note in weights.notes)
    assert not any("1.0" in note for note in recognise({"state_dict": stage1}).notes)
    assert UNetAdapter().to_published(stage1, 7, "1.0")["state_dict"].keys() == published.keys()
    with pytest.raises(UserError, match=r"1\.0 has no temporal layers"):
        UNetAdapter().to_published(key_table("unet_stage2_state_dict"), 7, "1.0")
