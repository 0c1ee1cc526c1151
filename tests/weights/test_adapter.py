"""Every file that LatentSync meets is recognised by its keys."""

from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync.errors import UserError
from latentsync.models.weight_files import load_state
from latentsync.weights.adapter import describes_network, read, recognise


@pytest.mark.parametrize(
    ("table", "kind", "parameters"),
    [
        ("unet_stage1_state_dict", "unet", 849_962_244),
        ("sd15_unet2d_keys", "sd-unet", 859_520_964),
        ("stable_syncnet_16_pixel_attn", "stable-syncnet", 401_306_080),
        ("stable_syncnet_16_pixel", "stable-syncnet", 371_766_496),
        ("stable_syncnet_16_latent", "stable-syncnet", 65_544_416),
        ("videomae_v2_giant_state_dict", "videomae-v2", 1_011_855_918),
        ("syncnet_v2_state_dict", "syncnet-v2", 13_640_270),
        ("vae_sd_keys", "autoencoder", 83_653_863),
        ("whisper_tiny_keys", "whisper-openai", 37_760_640),
    ],
)
def test_full_size_tables_are_recognised(table: str, kind: str, parameters: int, key_table: Any) -> None:
    identity = recognise(key_table(table))
    assert (identity.kind, identity.parameters) == (kind, parameters)


def test_published_unet_file_names_its_experiment_and_steps(key_table: Any) -> None:
    notes = " ".join(recognise({"state_dict": key_table("unet_stage2_state_dict"), "global_step": 12000}).notes)
    for words in ("12,000 steps", "experiment=stage2 or stage2_512", "audio width 384", "not told by shapes"):
        assert words in notes


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("vgg16_features_fp16.pth", "lpips-backbone"),
        ("tiny.en.encoder_fp16.pt", "whisper-openai"),
        ("taef2_encoder.pth", "unknown"),
    ],
)
def test_real_files_are_recognised(file: str, kind: str, shared: Path) -> None:
    assert recognise(load_state(shared / "assets" / "weights" / file)).kind == kind


def test_checkpoint_parts_are_told(golden_state: Any) -> None:
    state = {f"unet.{key}": value for key, value in golden_state("unet_spatial").items()}
    content = {"pytorch-lightning_version": "2.6", "state_dict": state, "global_step": 5}
    weights = recognise({**content, "unet_config": {"resolution": 128}})
    assert (weights.kind, weights.global_step, weights.config()["resolution"]) == ("unet", 5, 128)
    assert "conv_in.weight" in weights.state
    assert "parts: unet" in weights.notes[0]
    assert recognise({**content, "state_dict": {"some.weight": torch.zeros(2)}}).kind == "unknown"
    assert recognise({"weight": torch.zeros(2)}).kind == "unknown"


def test_hub_snapshots_config_json_is_no_networks(golden_state: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"library_name": "diffusers"}\n')
    assert not describes_network(tmp_path)
    torch.save({"conv_in.weight": torch.zeros(1)}, tmp_path / "diffusion_pytorch_model.bin")
    assert read(tmp_path).told == {}


def test_cut_file_with_a_published_name_says_what_is_published(tmp_path: Path) -> None:
    (tmp_path / "latentsync_unet.pt").write_bytes(b"PK\x03\x04" + bytes(500))
    with pytest.raises(UserError) as error:
        read(tmp_path / "latentsync_unet.pt")
    assert "5,072,348,184 (latentsync-1.5) or 5,072,222,488 (latentsync-1.6) bytes, this one 504" in str(error.value)
    assert "\n" not in str(error.value)
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "tiny.pt")
    (tmp_path / "tiny.pt").write_bytes((tmp_path / "tiny.pt").read_bytes()[:3000])
    with pytest.raises(UserError, match=r"at least 4,000; fetch or copy it again$"):
        read(tmp_path / "tiny.pt")  # another file of that name
    (tmp_path / "own.pt").write_bytes(b"PK\x03\x04" + bytes(500))
    with pytest.raises(UserError, match=r"fetch or copy it again$"):
        read(tmp_path / "own.pt")
