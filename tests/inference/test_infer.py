"""The command: a video from a weights folder, and every mistake in one line with exit code 2."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from configs.compose import load_config
from latentsync.errors import UserError
from latentsync.media import encode_wav, probe_video, read_frames

if TYPE_CHECKING:
    from tests.inference.conftest import Head

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def infer() -> ModuleType:
    """infer.py as a module."""
    spec = importlib.util.spec_from_file_location("infer", REPOSITORY / "infer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["infer"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(head: Head, bundle: Path, tmp_path: Path) -> dict[str, object]:
    """A call that works, as keys and values."""
    return {
        "input": head.video,
        "audio": head.audio,
        "output": tmp_path / "out.mp4",
        "faces": head.faces,
        "weights": bundle,
        "num_inference_steps": 2,
        "device": "cpu",
        "seed": 5,
    }


def overrides(arguments: dict[str, object]) -> list[str]:
    """As they stand on a command line."""
    return [f"{key}={value}" for key, value in arguments.items()]


def start(arguments: dict[str, object], folder: Path) -> subprocess.Popen:
    """A real process, working in `folder`."""
    command = [sys.executable, str(REPOSITORY / "infer.py"), *overrides(arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_command_writes_the_video_and_tells_what_came_out(
    infer: ModuleType, arguments: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    infer.run(load_config("infer", overrides(arguments)))
    assert probe_video(tmp_path / "out.mp4").num_frames == 35
    assert capsys.readouterr().out == f"{tmp_path}/out.mp4: 35 frames, 1.40 s, guidance 1, seed 5\n"


def test_seed_zero_is_drawn_and_printed_and_gives_the_frames_again(
    infer: ModuleType, arguments: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    infer.run(load_config("infer", overrides({**arguments, "seed": 0})))
    first = [frame.image for frame in read_frames(tmp_path / "out.mp4")]
    seed = int(capsys.readouterr().out.split("seed ")[1])
    assert seed > 0
    infer.run(load_config("infer", overrides({**arguments, "seed": seed})))
    assert all((a == b.image).all() for a, b in zip(first, read_frames(tmp_path / "out.mp4"), strict=True))


def test_bfloat16_runs_through(infer: ModuleType, arguments: dict, tmp_path: Path) -> None:
    infer.run(load_config("infer", overrides({**arguments, "precision": "bf16", "num_inference_steps": 1})))
    assert probe_video(tmp_path / "out.mp4").num_frames == 35


def test_without_an_output_the_video_goes_to_outputs(
    infer: ModuleType, arguments: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments.pop("output")
    infer.run(load_config("infer", overrides({**arguments, "num_inference_steps": 1})))
    assert probe_video(tmp_path / "outputs" / "talk.mp4").num_frames == 35


BAD = [
    ({"input": "{folder}/gone.mp4"}, "no such file"),
    ({"input": "null"}, "input is missing"),
    ({"audio": "{folder}/face.png"}, "audio"),
    ({"output": "{folder}/nowhere/out.mp4"}, "does not exist"),
    ({"guidance_scale": 11}, "guidance_scale=11"),
    ({"guidance_scale": "loud"}, "guidance_scale=loud"),
    ({"guidance_start": 1.5}, "guidance_start=1.5"),
    ({"seed": -1}, "seed=-1"),
    ({"num_inference_steps": 0}, "num_inference_steps=0"),
    ({"weights": "dmeo"}, "weights 'dmeo'.*did you mean 'demo'"),
    ({"weights": "{folder}"}, "weights"),
    ({"faces": "{folder}/gone.json"}, "no such file"),
    ({"faces": "{folder}/one.json"}, "holds 1 frames"),
    ({"input": "{folder}/face.png", "faces": "{folder}/none.json"}, r"face\.png': no face found in the picture"),
    ({"device": "abacus"}, "device=abacus"),
    ({"precision": 8}, "precision=8"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=lambda value: str(value)[:40])
def test_mistakes_are_user_errors_of_one_line_without_a_file(
    infer: ModuleType, arguments: dict, head: Head, tmp_path: Path, change: dict, message: str
) -> None:
    Image.fromarray(head.frames[0]).save(tmp_path / "face.png")
    (tmp_path / "one.json").write_text(json.dumps([head.landmarks3[0].tolist()]))
    (tmp_path / "none.json").write_text("[null]")
    before = sorted(tmp_path.iterdir())
    changed = {key: str(value).format(folder=tmp_path) for key, value in change.items()}
    with pytest.raises(UserError, match=message) as caught:
        infer.run(load_config("infer", overrides({**arguments, **changed})))
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_a_mistake_on_the_command_line_exits_with_2_and_one_line(arguments: dict, tmp_path: Path) -> None:
    process = start({**arguments, "guidance_scale": 11}, tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert "guidance_scale=11" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_sigterm_in_the_middle_leaves_nothing(arguments: dict, head: Head, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "long.wav").write_bytes(encode_wav(np.tile(head.wave, 30), 16000))
    changes = {"audio": tmp_path / "long.wav", "output": work / "out.mp4", "num_inference_steps": 200}
    process = start({**arguments, **changes}, work)
    deadline = time.monotonic() + 120
    while not list(work.iterdir()) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(work.iterdir()), "the partial file was never begun"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert err.strip().splitlines()[-1] == "stopped; nothing is half written"
    assert list(work.iterdir()) == []
