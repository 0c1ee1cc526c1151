"""The web page in a real browser: upload, progress, result beside the input, mistakes, and a clean end."""

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import free_port, server

from latentsync.app.__main__ import main
from latentsync.app.service import Cancelled
from latentsync.inference.options import LipSyncOptions

pytest.importorskip("gradio", reason="needs the extra `app`")

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "checkpoints" / "demo" / "sample"


def until(found: Callable[[], Any], what: str, seconds: float = 90) -> Any:
    """What `found` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"it never came: {what}"
        time.sleep(0.2)
    return value


@pytest.mark.slow
def test_a_video_and_a_voice_become_a_video_that_plays(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    port = free_port()
    command = [sys.executable, "-m", "latentsync.app", "--port", str(port), "--steps", "1", "--device", "cpu"]
    command += ["--faces", str(SAMPLE / "talk.json")]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with server(command, f"http://127.0.0.1:{port}", tmp_path / "log", TMPDIR=str(scratch)) as process:
        browser.get(f"http://127.0.0.1:{port}")
        start = until(lambda: browser.find_elements(By.CSS_SELECTOR, "#start"), "the page")[0]

        def said() -> str:
            return browser.find_element(By.CSS_SELECTOR, "#said").text

        start.click()
        until(lambda: "Give a video or a picture." in said(), "the answer to nothing at all")
        for place, file in (("video", "talk.mp4"), ("audio", "speech.wav")):
            fields = until(
                lambda p=place: browser.find_elements(By.CSS_SELECTOR, f"#{p} input[type=file]"), "the upload field"
            )
            fields[0].send_keys(str(SAMPLE / file))
        uploaded = "return [!!document.querySelector('#video video'), document.querySelector('#audio').innerText]"
        until(lambda: browser.execute_script(uploaded)[0], "the uploaded video")
        until(lambda: not browser.find_elements(By.CSS_SELECTOR, "#audio input[type=file]"), "the uploaded voice")
        start.click()
        until(lambda: "100 frames, 4.00 s, seed" in said(), "the result", 120)
        state = "const v = document.querySelector('#{0} video'); return v ? [v.readyState, v.duration] : [0, 0]"
        for place in ("result", "before"):
            until(lambda p=place: browser.execute_script(state.replace("{0}", p))[0] >= 2, f"{place} plays")
        assert browser.execute_script(state.replace("{0}", "result"))[1] == pytest.approx(4.0, abs=0.1)
        browser.save_screenshot(str(tmp_path / "page.png"))
        process.terminate()
        assert process.wait(30) == 0
    assert list(scratch.glob("latentsync-*")) == [], "no folder is left behind"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "nowhere"], "nowhere"),
        (["--steps", "0"], "num_inference_steps=0"),
        (["--max-seconds", "0"], "max_seconds=0"),
        (["--max-waiting", "0"], "--max-waiting 0"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_the_chosen_sound_track_is_the_one_that_is_heard(talk: Any, tmp_path: Path) -> None:
    """Through what the button does, with a service that remembers the options."""
    from latentsync.app.page import _work

    class Remembering:
        def run(self, input: Path, audio: Path | None, folder: Path, options: LipSyncOptions, *_: Any) -> Any:
            heard.append(options.audio_track)
            raise Cancelled

    heard: list[object] = []
    for given in ("", None, " eng ", "1"):
        _work(Remembering())(str(talk.video), None, None, "largest", given, 1.0, 2, 0, threading.Event(), str(tmp_path))
    assert heard == [None, None, "eng", "1"]
    *_, told = _work(Remembering())(
        str(talk.video), None, None, "largest", "-1", 1.0, 2, 0, threading.Event(), str(tmp_path)
    )
    assert "audio_track=-1 is unknown" in told


def test_messages_do_not_tell_the_folders_of_the_server() -> None:
    from latentsync.app.page import _without_folders

    told = _without_folders(f"input '{tempfile.gettempdir()}/x/y/talk.mp4': no face found; give one")
    assert told == "input 'talk.mp4': no face found; give one"
