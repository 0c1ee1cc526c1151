"""A set of weights by name, folder or file; what is missing or does not fit is said in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from latentsync.errors import UserError
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.unet import UNet3DConditionModel
from latentsync.models.weight_files import fingerprint
from latentsync.weights.adapter import read
from latentsync.weights.bundle import load_bundle, load_unet, settle_guidance


@pytest.fixture(scope="module")
def folder(manifest: dict[str, Any], golden_state: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our layout {unet, vae, audio_encoder} at a tiny size, audio width 48."""
    root = tmp_path_factory.mktemp("bundle")
    unet = UNet3DConditionModel(**manifest["unet_temporal"]["config"], resolution=128)
    unet.load_state_dict({**unet.state_dict(), **golden_state("unet_temporal")})
    unet.save_pretrained(root / "unet")
    AutoencoderKL(block_out_channels=(32,), norm_num_groups=8).save_pretrained(root / "vae")
    audio_encoder(48).save_pretrained(root / "audio_encoder")
    return root


def audio_encoder(width: int) -> AudioEncoder:
    heads = {"encoder_attention_heads": 4, "encoder_layers": 2, "encoder_ffn_dim": 64}
    return AudioEncoder.from_config(d_model=width, **heads)


def test_folder_gives_all_parts_and_what_it_is_made_for(folder: Path, golden_state: Any) -> None:
    bundle = load_bundle(folder, dtype=torch.float16)
    state = bundle.unet.state_dict()
    assert all(torch.equal(state[key], value.half()) for key, value in golden_state("unet_temporal").items())
    assert (bundle.resolution, bundle.num_frames) == (128, 16)
    assert bundle.audio_encoder.hidden_size == 48
    assert not bundle.unet.training
    assert next(bundle.autoencoder.parameters()).dtype == torch.float16
    assert bundle.metadata["temporal_layers"] == "all"


def test_guidance_is_the_models_own_word_or_the_published_one_or_none(folder: Path, tmp_path: Path) -> None:
    found = read(folder / "unet")
    assert settle_guidance(folder, found, None) == 1.0
    assert settle_guidance("latentsync-1.5", found, None) == 1.5
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "model.json").write_text(json.dumps({"guidance_scale": 2.5}))
    assert load_bundle(tmp_path / "model").guidance_scale == 2.5


@pytest.mark.parametrize("form", ["published", "checkpoint", "folder"])
def test_unet_alone_takes_the_other_parts_that_are_given(
    form: str, folder: Path, tmp_path: Path, golden_state: Any
) -> None:
    state = golden_state("unet_temporal")
    path = tmp_path / "unet.pt"
    if form == "published":
        torch.save({"state_dict": state, "global_step": 1}, path)
    elif form == "checkpoint":
        content = {f"unet.{key}": value for key, value in state.items()}
        torch.save({"pytorch-lightning_version": "2.6", "state_dict": content}, path)
    else:
        path = folder / "unet"
    bundle = load_bundle(path, autoencoder=folder / "vae", audio_encoder=folder / "audio_encoder", resolution=128)
    assert all(torch.equal(bundle.unet.state_dict()[key], value) for key, value in state.items())
    assert bundle.resolution == 128


def test_network_built_from_shapes_answers_as_the_published_one(
    formula: Any, manifest: dict[str, Any], golden_state: Any, goldens: Path, tmp_path: Path
) -> None:
    import numpy as np

    torch.save({"state_dict": golden_state("unet_spatial"), "global_step": 1}, tmp_path / "unet.pt")
    unet = load_unet(tmp_path / "unet.pt")
    sample = torch.from_numpy(formula.tensor("unet_spatial.sample", (2, 13, 3, 16, 16)))
    audio = torch.from_numpy(formula.tensor("unet_spatial.audio", (2, 3, 50, 48)))
    with torch.no_grad():
        output = unet.eval()(sample, torch.tensor([981, 17]), audio).numpy()
    expected = np.load(goldens / "unet_spatial.npz")["output"]
    assert np.abs(output - expected).max() <= 1e-4 * np.abs(expected).max()


def test_file_with_its_position_tables_is_loaded_without_a_second_copy(folder: Path) -> None:
    weights = read(folder / "unet")
    state = weights.state
    again = weights.adapter.load(weights)
    assert all(value.data_ptr() == state[key].data_ptr() for key, value in again.state_dict().items())


def test_unknown_and_unfetched_names_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"did you mean 'latentsync-1\.6'"):
        load_bundle("latentsync-16")
    with pytest.raises(UserError, match=r"fetch latentsync-1\.5"):
        load_bundle("latentsync-1.5")
    with pytest.raises(UserError, match="no such file or folder"):
        load_bundle("runs/absent.pt")
    with pytest.raises(UserError, match="demo"):
        load_bundle("demo")


def test_missing_companions_say_what_to_fetch(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="fetch sd-vae-ft-mse"):
        load_bundle(folder / "unet")
    with pytest.raises(UserError, match="fetch whisper-tiny"):
        load_bundle(folder / "unet", autoencoder=folder / "vae")


def test_other_audio_width_or_resolution_is_refused(folder: Path, tmp_path: Path) -> None:
    audio_encoder(64).save_pretrained(tmp_path / "wide")
    with pytest.raises(UserError, match="width 48, the audio encoder gives 64"):
        load_bundle(folder, audio_encoder=tmp_path / "wide")
    with pytest.raises(UserError, match="resolution 128, the configuration says 256"):
        load_bundle(folder, resolution=256)


def test_broken_folders_name_the_missing_part(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"in_channels": 13}))
    with pytest.raises(UserError, match="safetensors"):
        load_bundle(tmp_path)
    with pytest.raises(UserError, match="autoencoder weights, not a lip-sync U-Net"):
        load_bundle(folder / "vae")


def test_named_part_with_other_weights_is_refused_unless_it_is_asked_for(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    trained_with = fingerprint(AudioEncoder.from_pretrained(folder / "audio_encoder").encoder)
    told = {"audio_encoder": {"source": "audio_encoder", "fingerprint": trained_with}}
    (model / "model.json").write_text(json.dumps(told))
    assert load_bundle(model).audio_encoder.hidden_size == 48
    shutil.rmtree(model / "audio_encoder")
    audio_encoder(48).save_pretrained(model / "audio_encoder")
    with pytest.raises(UserError, match=f"audio_encoder 'audio_encoder' of fingerprint {trained_with}"):
        load_bundle(model)
    with caplog.at_level("WARNING"):
        load_bundle(model, audio_encoder=model / "audio_encoder")
    assert "is another one" in caplog.text
