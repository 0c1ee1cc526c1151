"""The frozen networks load strictly from every published format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from latentsync.errors import UserError
from latentsync.weights.export import export, export_module
from latentsync.weights.parts import (
    OLD_ATTENTION,
    load_audio_encoder,
    load_autoencoder,
    load_syncnet,
    load_video_encoder,
    modern_attention,
)


@pytest.fixture
def vae_folder(tmp_path: Path) -> tuple[Path, AutoencoderKL]:
    vae = AutoencoderKL(block_out_channels=(32,), norm_num_groups=8)
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae", vae


def old_names(state: dict[str, torch.Tensor], four_dimensional: bool) -> dict[str, torch.Tensor]:
    """The same weights as diffusers wrote them before its attention was renamed."""
    out = {}
    for key, value in state.items():
        for old, new in OLD_ATTENTION.items():
            if f".attentions.0.{new}." in key:
                key = key.replace(f".{new}.", f".{old}.")
                value = value[:, :, None, None] if four_dimensional and value.ndim == 2 else value
        out[key] = value
    return out


@pytest.mark.parametrize("form", ["safetensors", "bin", "old bin", "old bin, convolutions"])
def test_autoencoder_folders_load_whatever_their_age(form: str, vae_folder: tuple[Path, AutoencoderKL]) -> None:
    folder, vae = vae_folder
    if form != "safetensors":
        (folder / "diffusion_pytorch_model.safetensors").unlink()
        state = dict(vae.state_dict())
        state = old_names(state, form.endswith("convolutions")) if form.startswith("old") else state
        torch.save(state, folder / "diffusion_pytorch_model.bin")
    loaded = load_autoencoder(folder).vae.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in vae.state_dict().items())


def test_autoencoder_with_a_missing_key_is_refused(vae_folder: tuple[Path, AutoencoderKL]) -> None:
    folder, vae = vae_folder
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    state = {key: value for key, value in vae.state_dict().items() if key != "encoder.conv_in.bias"}
    torch.save(state, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"1 missing \(encoder\.conv_in\.bias\)"):
        load_autoencoder(folder)


def test_full_size_table_is_stable_diffusions_autoencoder(key_table: Any) -> None:
    from latentsync.weights.inspection import STABLE_DIFFUSION_VAE

    with torch.device("meta"):
        vae = AutoencoderKL.from_config(STABLE_DIFFUSION_VAE)
    table = modern_attention(key_table("vae_sd_keys"))
    assert {k: v.shape for k, v in vae.state_dict().items()} == {k: v.shape for k, v in table.items()}


def test_whisper_in_either_format_gives_the_same_tokens(goldens: Path, formula: Any, tmp_path: Path) -> None:
    published = load_audio_encoder(goldens / "whisper_openai_format.pt", piece_overlap_seconds=0)
    published.save_pretrained(tmp_path / "whisper")
    ours = load_audio_encoder(tmp_path / "whisper", piece_overlap_seconds=0)
    wave = formula.wave(0.5)
    with torch.no_grad():
        np.testing.assert_array_equal(published.hidden_states(wave), ours.hidden_states(wave))


def test_whole_transformers_whisper_gives_its_encoder(goldens: Path, tmp_path: Path) -> None:
    published = load_audio_encoder(goldens / "whisper_openai_format.pt")
    state = {f"model.encoder.{key}": value for key, value in published.encoder.state_dict().items()}
    torch.save({**state, "model.decoder.layer_norm.weight": torch.ones(48)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(published.encoder.config.to_dict()))
    loaded = load_audio_encoder(tmp_path).encoder.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in published.encoder.state_dict().items())
    del state["model.encoder.layers.0.fc1.weight"]
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"layers\.0\.fc1\.weight"):
        load_audio_encoder(tmp_path)


def test_published_syncnet_loads_and_goes_back_bit_exactly(golden_state: Any, tmp_path: Path) -> None:
    state = golden_state("stable_syncnet")
    torch.save({"state_dict": state, "global_step": 8, "train_loss_list": [0.69]}, tmp_path / "syncnet.pt")
    syncnet = load_syncnet(tmp_path / "syncnet.pt")
    export_module(syncnet, tmp_path / "syncnet")
    export(tmp_path / "syncnet", tmp_path / "back.pt")
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert back["state_dict"].keys() == state.keys()
    assert all(torch.equal(back["state_dict"][key], value) for key, value in state.items())
    assert "train_loss_list" in back
    again = load_syncnet(tmp_path / "syncnet").state_dict()
    assert all(torch.equal(again[key], value) for key, value in state.items())


def test_published_videomae_gives_a_video_encoder(golden_state: Any, manifest: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"module": golden_state("trepa")}, tmp_path / "videomae.pth")
    encoder = load_video_encoder(tmp_path / "videomae.pth", manifest["trepa"]["config"]).eval()
    with torch.no_grad():
        features = encoder(torch.rand(1, 16, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert features.shape == (1, 48)
    assert torch.isfinite(features).all()
