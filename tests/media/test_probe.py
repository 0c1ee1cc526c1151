"""What a file is: numbers, sound, picture or video."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.errors import UserError
from latentsync.media import VideoWriter, encode_wav, is_image, is_video, probe_video


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.mkv"
    with VideoWriter(path, 64, 48, Fraction(30000, 1001), audio=(np.zeros(16000, np.float32), 16000)) as writer:
        for level in range(12):
            writer.write(np.full((48, 64, 3), 10 * level, np.uint8))
    return path


def test_frames_are_counted_where_the_container_does_not_say(talk: Path) -> None:
    info = probe_video(talk)  # Matroska does not
    assert (info.width, info.height, info.num_frames, info.has_audio, info.rotation) == (64, 48, 12, True, 0)
    assert float(info.fps) == pytest.approx(30000 / 1001, rel=1e-3)
    assert info.duration == pytest.approx(0.4004, abs=2e-3)


def test_real_clips_are_described(shared: Path) -> None:
    clips = shared / "assets" / "clips"
    grid, portrait = probe_video(clips / "brbk7n.mpg"), probe_video(clips / "demo3_video.mp4")
    assert (grid.width, grid.height, grid.fps, grid.num_frames, grid.duration) == (360, 288, 25, 75, 3.0)
    assert (portrait.width, portrait.height, portrait.fps, portrait.num_frames) == (1080, 1920, 30, 600)
    assert not probe_video(clips / "Obama_clip1.mp4").has_audio


def test_suffixes_tell_pictures_from_videos() -> None:
    for suffix in ("jpg", "JPEG", "png", "bmp", "webp"):
        assert is_image(f"a.{suffix}")
        assert not is_video(f"a.{suffix}")
    for suffix in ("mp4", "MOV", "mkv", "webm", "avi"):
        assert is_video(f"a.{suffix}")
        assert not is_image(f"a.{suffix}")


def test_an_unknown_suffix_is_decided_by_the_contents(talk: Path, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.dat", "png")
    shutil.copy(talk, tmp_path / "talk.dat")
    (tmp_path / "sound.dat").write_bytes(encode_wav(np.zeros(8000, np.float32), 16000))
    kinds = {
        name: (is_image(tmp_path / name), is_video(tmp_path / name)) for name in ("photo.dat", "talk.dat", "sound.dat")
    }
    assert kinds == {"photo.dat": (True, False), "talk.dat": (False, True), "sound.dat": (False, False)}


def test_bad_files_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.dat': no such file"):
        is_video(tmp_path / "absent.dat")
    (tmp_path / "sound.wav").write_bytes(encode_wav(np.zeros(8000, np.float32), 16000))
    with pytest.raises(UserError, match=r"sound\.wav': no video stream"):
        probe_video(tmp_path / "sound.wav")
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(UserError, match=r"text\.mp4': not a media file"):
        probe_video(tmp_path / "text.mp4")
