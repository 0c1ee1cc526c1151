"""What a request refuses, each in one line, before any network is loaded and with nothing written."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.errors import UserError
from latentsync.inference.request import check_request
from latentsync.media import VideoWriter, encode_wav


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad files: silent.mp4, talk.mp4, face.png, speech.wav and others."""
    folder = tmp_path_factory.mktemp("request")
    sound = np.sin(np.arange(16000) / 20).astype(np.float32)
    frames = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8)
    for name, audio in [("silent.mp4", None), ("talk.mp4", (sound, 16000))]:
        with VideoWriter(folder / name, 64, 48, 25, audio=audio) as writer:
            for frame in frames:
                writer.write(frame)
    Image.fromarray(frames[0]).save(folder / "face.png")
    (folder / "speech.wav").write_bytes(encode_wav(sound, 16000))
    (folder / "short.wav").write_bytes(encode_wav(sound[:1600], 16000))
    (folder / "no_samples.wav").write_bytes(encode_wav(sound[:0], 16000))
    (folder / "empty.wav").write_bytes(b"")
    (folder / "words.mp4").write_text("this is not a video " * 50)
    (folder / "words.png").write_text("this is not a picture " * 50)
    (folder / "talk.gifv").write_bytes(b"GIF89a")
    # faststart: the index of a whole file lies in front; a cut before its end makes it unreadable
    (folder / "truncated.mp4").write_bytes((folder / "talk.mp4").read_bytes()[:900])
    return folder


BAD = [
    ({"input": "gone.mp4"}, r"input '.*gone\.mp4': no such file"),
    ({"input": "words.mp4"}, r"input '.*words\.mp4': not a media file"),
    ({"input": "words.png"}, r"input '.*words\.png': cannot be read as a picture"),
    ({"input": "truncated.mp4"}, r"input '.*truncated\.mp4'"),
    ({"input": "talk.gifv"}, r"input '.*talk\.gifv': '\.gifv' is not a known kind"),
    ({"input": "."}, "is a folder"),
    ({"audio": "gone.wav"}, r"audio '.*gone\.wav': no such file"),
    ({"audio": "silent.mp4"}, r"audio '.*silent\.mp4': no audio stream"),
    ({"audio": "empty.wav"}, r"audio '.*empty\.wav': the file is empty"),
    ({"audio": "no_samples.wav"}, r"audio '.*no_samples\.wav'"),
    ({"audio": "short.wav"}, r"audio '.*short\.wav'.*too short"),
    ({"audio": "words.mp4"}, r"audio '.*words\.mp4'"),
    ({"input": "silent.mp4", "audio": None}, r"input '.*silent\.mp4': no audio stream; pass audio=FILE"),
    ({"input": "face.png", "audio": None}, r"input '.*face\.png': a picture has no sound; pass audio=FILE"),
    ({"output": "nowhere/out.mp4"}, r"output '.*out\.mp4': folder '.*nowhere' does not exist"),
    ({"output": "out.txt"}, r"cannot write '\.txt' files"),
    ({"output": "talk.mp4"}, "would replace one of the inputs"),
    ({"guidance_scale": 11}, "guidance_scale=11 is out of range"),
    ({"guidance_scale": float("nan")}, "guidance_scale=nan"),
    ({"guidance_scale": "loud"}, "guidance_scale=loud"),
    ({"num_inference_steps": 0}, "num_inference_steps=0"),
    ({"num_inference_steps": 2.5}, r"num_inference_steps=2\.5"),
    ({"seed": -1}, "seed=-1"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_requests_get_one_line_and_leave_nothing(folder: Path, change: dict, message: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    given = {"input": "talk.mp4", "audio": "speech.wav", "output": "out.mp4", **change}
    for key in ("input", "audio", "output"):
        given[key] = None if given[key] is None else folder / given[key]
    with pytest.raises(UserError, match=message) as caught:
        check_request(**given)
    assert "\n" not in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_the_audio_decides_the_number_of_frames(folder: Path) -> None:
    request = check_request(folder / "face.png", folder / "speech.wav", folder / "out.mp4", seed=3)
    assert (request.num_frames, request.width, request.height, request.seed) == (25, 64, 48, 3)
    assert request.is_picture
    assert request.audio_seconds == pytest.approx(1.0)


def test_without_audio_the_video_speaks_its_own(folder: Path) -> None:
    request = check_request(folder / "talk.mp4", None, folder / "out.mp4")
    assert request.audio == folder / "talk.mp4"
    assert request.num_frames == pytest.approx(30, abs=1)


def test_seed_zero_draws_a_new_seed_each_time(folder: Path) -> None:
    drawn = {check_request(folder / "face.png", folder / "speech.wav", folder / "out.mp4").seed for _ in range(4)}
    assert len(drawn) == 4
    assert 0 not in drawn
