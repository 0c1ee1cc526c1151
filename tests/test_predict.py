"""The Cog predictor behind Cog's own HTTP server: videos, pictures, limits, mistakes."""

import base64
import inspect
import json
import os
import shutil
import sys
import time
import tomllib
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from deadly_jobs import Deadly
from serving import free_port, server

from latentsync.errors import UserError
from latentsync.media.probe import probe_video

pytest.importorskip("cog", reason="needs the extra `cog`")

REPOSITORY = Path(__file__).resolve().parents[1]
SAMPLE = REPOSITORY / "checkpoints" / "demo" / "sample"


def uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def ask(port: int, method: str = "POST", path: str = "/predictions", **given: Any) -> Any:
    body = json.dumps({"input": given}).encode() if method == "POST" else None
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers, method=method)
    for _ in range(100):
        try:
            return json.loads(urllib.request.urlopen(request, timeout=120).read())
        except urllib.error.HTTPError as error:
            answer = {"status": error.code, "error": error.read().decode()}
            if error.code != 409:
                break
            time.sleep(0.2)  # the server frees its place a moment after it has answered the request before
    return answer


@pytest.mark.slow
def test_cogs_server_lip_syncs_videos_and_pictures_and_tells_mistakes(tmp_path: Path) -> None:
    from data_prep.sample import make_sample

    make_sample(
        tmp_path / "sample", identity=100050, speaker=100051, seed=5, seconds=1.0, resolution=128, crf=20, picture=True
    )
    port, sample = free_port(), tmp_path / "sample"
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COG_PREDICT_TYPE_STUB": "predict.py:Predictor", "PORT": str(port), "PYTHONPATH": str(REPOSITORY),
        "LATENTSYNC_DEVICE": "cpu", "LATENTSYNC_FACES": str(sample / "talk.json"), "LATENTSYNC_MAX_SECONDS": "3",
    }  # fmt: skip
    command = [sys.executable, "-m", "cog.server.http", "--host", "127.0.0.1"]
    with server(command, f"http://127.0.0.1:{port}/health-check", tmp_path / "log", **environment):
        while (health := ask(port, "GET", "/health-check"))["status"] == "STARTING":
            time.sleep(0.2)
        assert health["status"] == "READY", (tmp_path / "log").read_text()
        speech = uri(sample / "speech.wav", "audio/wav")
        for name, kind in (("talk.mp4", "video/mp4"), ("face.png", "image/png")):
            answer = ask(port, input=uri(sample / name, kind), audio=speech, num_inference_steps=1, seed=3)
            assert answer["status"] == "succeeded", answer
            (tmp_path / "out.mp4").write_bytes(base64.b64decode(answer["output"].partition(",")[2]))
            info = probe_video(tmp_path / "out.mp4")
            assert (info.num_frames, info.has_audio) == (25, True)
        wrong = ask(port, input=speech, audio=speech)
        assert wrong["status"] == "failed"
        assert "not a known kind of picture or video" in wrong["error"]
        too_much = ask(port, input=uri(sample / "talk.mp4", "video/mp4"), audio=speech, guidance_scale=11)
        assert too_much["status"] == "failed"
        assert "guidance_scale=11 is out of range" in too_much["error"]
        long = uri(SAMPLE / "speech.wav", "audio/wav")
        refused = ask(port, input=uri(sample / "talk.mp4", "video/mp4"), audio=long)
        assert "4 s is more than the 3 s allowed" in refused["error"]


@pytest.mark.slow
def test_a_job_that_kills_its_process_has_failed_and_the_next_one_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import predict
    from data_prep.sample import make_sample

    make_sample(
        tmp_path / "sample", identity=100050, speaker=100051, seed=5, seconds=0.8, resolution=64, crf=20, picture=False
    )
    talk, speech = (tmp_path / "sample" / name for name in ("talk.mp4", "speech.wav"))
    deadly = shutil.copy(talk, tmp_path / "deadly.mp4")
    monkeypatch.setattr(predict, "Loader", lambda *given: Deadly())
    predictor = predict.Predictor()
    predictor.setup()
    try:
        options = {"guidance_scale": None, "num_inference_steps": 2, "seed": 1, "audio_track": None}
        with pytest.raises(UserError, match="signal SIGSEGV"):
            predictor.predict(input=deadly, audio=speech, **options)
        assert Path(predictor.predict(input=talk, audio=speech, **options)).is_file()
        with pytest.raises(UserError, match="audio_track=7: no such track"):
            predictor.predict(input=talk, audio=speech, **{**options, "audio_track": "7"})
    finally:
        predictor.service.close()


def test_inputs_have_the_ranges_and_defaults_of_the_command_line() -> None:
    from predict import Predictor

    inputs = {name: one.default for name, one in inspect.signature(Predictor.predict).parameters.items()}
    assert (inputs["guidance_scale"].default, inputs["guidance_scale"].ge, inputs["guidance_scale"].le) == (None, 0, 10)
    assert (inputs["seed"].default, inputs["seed"].ge) == (0, 0)
    assert inputs["num_inference_steps"].default == 20


def test_the_image_installs_what_the_package_asks_for() -> None:
    asked = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    lines = (REPOSITORY / "requirements-cog.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == asked
