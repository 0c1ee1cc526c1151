"""StableSyncNet of every published layout: read off its shapes, loaded strictly, and back bit-exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync.errors import UserError
from latentsync.weights.convert import convert, export
from latentsync.weights.syncnet import load_syncnet, syncnet_config


def test_syncnet_configuration_is_read_off_its_shapes(manifest: dict[str, Any], golden_state: Any) -> None:
    assert syncnet_config(golden_state("stable_syncnet")) == manifest["stable_syncnet"]["config"]


def test_unknown_layout_and_other_weights_are_refused(golden_state: Any, tmp_path: Path) -> None:
    state = {k: v for k, v in golden_state("stable_syncnet").items() if "down_blocks.9" not in k}
    with pytest.raises(UserError, match="--config"):
        syncnet_config(state)
    with pytest.raises(UserError, match="not a StableSyncNet"):
        syncnet_config({"a": torch.zeros(1)})
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pt")
    with pytest.raises(UserError, match="lpips-backbone weights, not a StableSyncNet's"):
        load_syncnet(tmp_path / "vgg.pt")


def test_published_syncnet_loads_and_goes_back_bit_exactly(golden_state: Any, tmp_path: Path) -> None:
    state = golden_state("stable_syncnet")
    torch.save({"state_dict": state, "global_step": 8, "train_loss_list": [0.69]}, tmp_path / "syncnet.pt")
    convert(tmp_path / "syncnet.pt", tmp_path / "syncnet")
    export(tmp_path / "syncnet", tmp_path / "back.pt")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert back["state_dict"].keys() == state.keys()
    assert all(torch.equal(back["state_dict"][key], value) for key, value in state.items())
    assert "train_loss_list" in back
    again = load_syncnet(tmp_path / "syncnet").state_dict()
    assert all(torch.equal(again[key], value) for key, value in state.items())
