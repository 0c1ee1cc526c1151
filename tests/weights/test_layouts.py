"""Folders as people have them: LatentSync's README, ComfyUI's nodes, a hub snapshot. Nothing is asked for twice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL

from latentsync.errors import UserError
from latentsync.weights.bundle import load_bundle
from latentsync.weights.known import Known, KnownFile
from latentsync.weights.registry import published, remembered_sha256, sha256


def published_folder(folder: Path, state: dict[str, torch.Tensor], goldens: Path, vae: str | None) -> Path:
    """latentsync_unet.pt and whisper/tiny.pt, and the autoencoder in `vae`."""
    (folder / "whisper").mkdir(parents=True)
    torch.save({"state_dict": state, "global_step": 7}, folder / "latentsync_unet.pt")
    (folder / "whisper" / "tiny.pt").write_bytes((goldens / "whisper_openai_format.pt").read_bytes())
    (folder / "auxiliary").mkdir()
    (folder / "auxiliary" / "syncnet_v2.model").write_bytes(b"not looked at")
    if vae is not None:
        AutoencoderKL(block_out_channels=(32,), norm_num_groups=8).save_pretrained(folder / vae)
    return folder


@pytest.mark.parametrize("layout", ["readme", "comfyui", "snapshot"])
def test_published_folder_is_a_model(
    layout: str, golden_state: Any, goldens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    vae = {"readme": "sd-vae-ft-mse", "comfyui": "vae", "snapshot": None}[layout]
    folder = published_folder(tmp_path / "checkpoints", golden_state("unet_temporal"), goldens, vae)
    given = None
    if layout == "snapshot":
        (folder / "config.json").write_text('{"library_name": "diffusers"}')
        given = tmp_path / "vae"
        AutoencoderKL(block_out_channels=(32,), norm_num_groups=8).save_pretrained(given)
    bundle = load_bundle(folder, resolution=128, autoencoder=given)
    assert (bundle.audio_encoder.hidden_size, bundle.resolution) == (48, 128)


def test_two_candidates_and_an_untold_resolution_are_questions(
    golden_state: Any, goldens: Path, tmp_path: Path
) -> None:
    folder = published_folder(tmp_path / "both", golden_state("unet_temporal"), goldens, "vae")
    with pytest.raises(UserError, match=r"give resolution=256.*or resolution=512"):
        load_bundle(folder)
    torch.save({"state_dict": {}}, folder / "latentsync_unet_1.5.pt")
    with pytest.raises(UserError, match=r"more than one U-Net.*latentsync_unet\.pt.*give one: weights="):
        load_bundle(folder, resolution=128)


def test_folder_without_a_model_and_other_weights_under_its_name_are_told(goldens: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "talk.mp4").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"empty': nothing in it is known by its name; give a model's folder"):
        load_bundle(tmp_path / "empty")
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "latentsync_unet.pt").write_bytes((goldens / "whisper_openai_format.pt").read_bytes())
    with pytest.raises(
        UserError, match=r"wrong' \(latentsync_unet\.pt\): whisper-openai weights, not a lip-sync U-Net"
    ):
        load_bundle(tmp_path / "wrong")


def test_original_files_are_known_by_size_and_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "latentsync_unet.pt"
    file.write_bytes(b"stand-in")
    entry = Known("latentsync-9", "stand-in", None, (KnownFile("x", (), sha256(file), 8),), resolution=512)
    monkeypatch.setattr("latentsync.weights.registry.KNOWN", (entry,))
    assert published(file) is entry
    note = tmp_path / ".latentsync_unet.pt.sha256"
    assert note.read_text().endswith(sha256(file))
    note.write_text(note.read_text()[:-1] + "!")
    assert remembered_sha256(file).endswith("!")  # not computed again
    file.write_bytes(b"stand-im")
    assert published(file) is None
    file.write_bytes(b"another size")
    note.unlink()
    assert published(file) is None
    assert not note.exists()  # the size told enough
