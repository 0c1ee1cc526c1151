"""Out and back: every round trip is bit-exact, files say what they are made for, and everybody may read them."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync.errors import UserError
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.weight_files import WEIGHTS_NAME, load_state, safetensors_metadata
from latentsync.weights.bundle import load_unet
from latentsync.weights.convert import convert, export


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) and one[k].dtype == two[k].dtype for k in one)


@pytest.fixture(scope="module")
def unet(manifest: dict[str, Any], golden_state: Any) -> UNet3DConditionModel:
    network = UNet3DConditionModel(**manifest["unet_temporal"]["config"], resolution=128)
    network.load_state_dict({**network.state_dict(), **golden_state("unet_temporal")})
    return network


def test_unet_to_published_file_to_folder_and_back_is_bit_exact(unet: UNet3DConditionModel, tmp_path: Path) -> None:
    state = dict(unet.state_dict())
    torch.save({"state_dict": state, "global_step": 42}, tmp_path / "source.pt")
    export(tmp_path / "source.pt", tmp_path / "unet.pt")
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
    unet.save_pretrained(tmp_path / "ours")
    export(tmp_path / "ours", tmp_path / "unet")
    loaded = load_unet(tmp_path / "unet")
    assert same(dict(loaded.state_dict()), dict(unet.state_dict()))
    assert loaded.config["resolution"] == 128
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
    with pytest.raises(UserError, match="only our U-Net and SyncNet"):
        export(tmp_path / "vgg.pt", tmp_path / "folder")
    assert {path.name for path in tmp_path.iterdir()} == {"there.pt", "vgg.pt"}


def test_weights_of_a_file_without_temporal_layers_go_out_and_come_in_under_1_0s_names(
    golden_state: Any, tmp_path: Path
) -> None:
    state = golden_state("unet_spatial")
    torch.save({"state_dict": state, "global_step": 3}, tmp_path / "unet.pt")
    export(tmp_path / "unet.pt", tmp_path / "v1.pt", version="1.0")
    assert any("audio_cross_attn.norm.weight" in key for key in load_state(tmp_path / "v1.pt")["state_dict"])
    export(tmp_path / "v1.pt", tmp_path / "back.pt")
    assert same(load_state(tmp_path / "back.pt")["state_dict"], state)


def test_files_have_the_umasks_mode(goldens: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        convert(goldens / "whisper_openai_format.pt", tmp_path / "whisper")
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "whisper").iterdir()} == {0o640}
