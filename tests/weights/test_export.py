"""Out and back: every round trip is bit-exact, and files say what they are made for."""

from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync.errors import UserError
from latentsync.models.unet import UNet3DConditionModel
from latentsync.weights.bundle import load_unet
from latentsync.weights.export import WEIGHTS_NAME, export, export_module
from latentsync.weights.load import load_state, safetensors_metadata


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) and one[k].dtype == two[k].dtype for k in one)


@pytest.fixture(scope="module")
def unet(manifest: dict[str, Any], golden_state: Any) -> UNet3DConditionModel:
    network = UNet3DConditionModel(**manifest["unet_temporal"]["config"], resolution=128)
    network.load_state_dict({**network.state_dict(), **golden_state("unet_temporal")})
    return network


def test_unet_to_published_file_to_folder_and_back_is_bit_exact(unet: UNet3DConditionModel, tmp_path: Path) -> None:
    state = dict(unet.state_dict())
    export_module(unet, tmp_path / "unet.pt", global_step=42)
    published = load_state(tmp_path / "unet.pt")
    assert set(published) == {"state_dict", "global_step"}
    assert published["global_step"] == 42
    assert same(published["state_dict"], state)

    export(tmp_path / "unet.pt", tmp_path / "folder")
    export(tmp_path / "folder", tmp_path / "again.pt")
    again = load_state(tmp_path / "again.pt")
    assert same(again["state_dict"], state)
    assert again["global_step"] == 42


def test_exported_folder_loads_as_our_unet_and_says_what_it_is_made_for(
    unet: UNet3DConditionModel, tmp_path: Path
) -> None:
    export_module(unet, tmp_path / "unet", global_step=7)
    loaded, config = load_unet(tmp_path / "unet")
    assert same(dict(loaded.state_dict()), dict(unet.state_dict()))
    assert config["resolution"] == loaded.config["resolution"] == 128
    metadata = safetensors_metadata(tmp_path / "unet" / WEIGHTS_NAME)
    assert (metadata["resolution"], metadata["audio_width"], metadata["temporal_layers"]) == ("128", "48", "all")
    assert same(dict(UNet3DConditionModel.from_pretrained(tmp_path / "unet").state_dict()), dict(unet.state_dict()))


def test_training_checkpoint_exports_its_unet_alone(unet: UNet3DConditionModel, tmp_path: Path) -> None:
    content = {f"unet.{key}": value for key, value in unet.state_dict().items()}
    checkpoint = {"pytorch-lightning_version": "2.6", "state_dict": content, "global_step": 5, "unet_config": {}}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    export(tmp_path / "last.ckpt", tmp_path / "unet.pt")
    published = load_state(tmp_path / "unet.pt")
    assert published["global_step"] == 5
    assert same(published["state_dict"], dict(unet.state_dict()))


def test_half_precision_stays_as_it_is(unet: UNet3DConditionModel, tmp_path: Path) -> None:
    half = {key: value.half() for key, value in unet.state_dict().items()}
    torch.save({"state_dict": half, "global_step": 1}, tmp_path / "half.pt")
    export(tmp_path / "half.pt", tmp_path / "half")
    assert same(load_state(tmp_path / "half" / WEIGHTS_NAME), half)


def test_nothing_is_overwritten_and_other_weights_are_refused(unet: UNet3DConditionModel, tmp_path: Path) -> None:
    (tmp_path / "there.pt").write_bytes(b"")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pt")
    with pytest.raises(UserError, match="there already"):
        export(tmp_path / "vgg.pt", tmp_path / "there.pt")
    with pytest.raises(UserError, match="published format"):
        export(tmp_path / "vgg.pt", tmp_path / "out.pt")
    with pytest.raises(UserError, match="no published format"):
        export_module(torch.nn.Linear(2, 2), tmp_path / "linear.pt")
    assert {path.name for path in tmp_path.iterdir()} == {"there.pt", "vgg.pt"}
