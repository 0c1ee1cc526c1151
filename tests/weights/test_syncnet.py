"""StableSyncNet of every published layout: read off its shapes, loaded strictly, and back bit-exactly."""

from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.stable_syncnet_scorer import StableSyncNetScorer
from eval.metrics.sync import SyncStable
from latentsync.errors import UserError
from latentsync.losses.sync import SyncLoss
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
    with pytest.raises(UserError, match=r"lpips-backbone weights, not a StableSyncNet's"):
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


def without_attention(golden_state: Any) -> dict[str, torch.Tensor]:
    """A small StableSyncNet as LatentSync 1.0's is: 16 frames of pixels, no attention."""
    from latentsync.models.syncnet import StableSyncNet

    config = syncnet_config(golden_state("stable_syncnet"))
    for encoder in config.values():
        encoder["attn_blocks"] = [0] * len(encoder["attn_blocks"])
    torch.manual_seed(0)
    return StableSyncNet(**config).state_dict()


@pytest.mark.parametrize("form", ["published", "converted", "exported"])
def test_syncnet_of_1_0_is_refused_where_a_later_one_is_needed(form: str, golden_state: Any, tmp_path: Path) -> None:
    path, state = tmp_path / "latentsync_syncnet.pt", without_attention(golden_state)
    torch.save({"state_dict": state, "global_step": 8}, path)
    if form == "converted":
        convert(path, tmp_path / "folder")
        path = tmp_path / "folder"
    if form == "exported":
        export(path, tmp_path / "folder")
        path = tmp_path / "folder"
    for load in (load_syncnet, SyncLoss.from_pretrained, StableSyncNetScorer):
        with pytest.raises(UserError, match=r"1\.0's, by its shapes.*version=1\.0 to use it knowingly") as error:
            load(path)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"options\.sync_stable: SyncNet"):
        SyncStable(path)
    found = SyncLoss.from_pretrained(path, version=1.0).syncnet.state_dict()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_own_syncnet_without_attention_is_nobody_elses(golden_state: Any, tmp_path: Path) -> None:
    from latentsync.models.syncnet import StableSyncNet

    state = without_attention(golden_state)
    own = StableSyncNet(**syncnet_config(state))
    own.load_state_dict(state)
    own.save_pretrained(tmp_path / "own")
    assert load_syncnet(tmp_path / "own").config["num_frames"] == 16
    export(tmp_path / "own", tmp_path / "again")
    assert load_syncnet(tmp_path / "again").config["num_frames"] == 16
