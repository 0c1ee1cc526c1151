"""`python -m latentsync.weights`: what people read, and exit code 2 with one line for their mistakes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from latentsync.weights.__main__ import main
from latentsync.weights.known import KNOWN


def test_list_shows_every_name_with_place_licence_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for entry in KNOWN:
        for words in (entry.name, entry.licence or "not stated", *(file.target for file in entry.files)):
            assert words in shown


def test_inspect_convert_and_export_go_round(
    golden_state: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = golden_state("unet_spatial")
    torch.save({"state_dict": state, "global_step": 11}, tmp_path / "unet.pt")
    assert main(["inspect", str(tmp_path / "unet.pt")]) == 0
    shown = capsys.readouterr().out
    for words in ("LatentSync U-Net", "438 tensors", "trained 11 steps", "stage1", "all belong, none is missing"):
        assert words in shown
    assert main(["convert", str(tmp_path / "unet.pt"), str(tmp_path / "folder")]) == 0
    assert main(["export", str(tmp_path / "folder"), str(tmp_path / "back.pt")]) == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)
    assert all(torch.equal(back["state_dict"][key], value) for key, value in state.items())
    assert back["global_step"] == 11


def test_inspect_names_keys_that_do_not_belong(
    golden_state: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {**golden_state("unet_spatial"), "adapter.weight": torch.zeros(2)}
    del state["conv_norm_out.bias"]
    torch.save({"state_dict": state}, tmp_path / "unet.pt")
    assert main(["inspect", str(tmp_path / "unet.pt")]) == 0
    shown = capsys.readouterr().out
    assert "1 missing (conv_norm_out.bias); 1 unexpected (adapter.weight)" in shown


@pytest.mark.parametrize("published", ["whisper_openai_format.pt"])
def test_convert_makes_a_folder_that_loads(published: str, goldens: Path, tmp_path: Path) -> None:
    from latentsync.models.audio_encoder import AudioEncoder

    assert main(["convert", str(goldens / published), str(tmp_path / "out")]) == 0
    assert AudioEncoder.from_pretrained(tmp_path / "out").hidden_size == 48


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["fetch", "whisper"], "did you mean 'whisper-tiny'"),
        (["inspect", "absent.pt"], "no such file"),
        (["convert", "absent.pt", "out"], "no such file"),
        (["export", "absent.pt", "out.pt"], "no such file"),
        (["convert", "text.pt", "out", "--config", "text.pt"], "--config"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_2(
    command: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pt").write_text("no weights")
    assert main(command) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert words in told
    assert not (tmp_path / "out").exists()
