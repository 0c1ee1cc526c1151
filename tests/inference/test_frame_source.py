"""The frame source: cut, ping-pong and pictures, against the index formula."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.errors import UserError
from latentsync.inference import frame_source
from latentsync.inference.frame_source import source_frames
from latentsync.inference.plan import ping_pong_index
from latentsync.media import VideoWriter

LENGTH = 40


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 40 frames whose grey level tells the frame's number: 20, 25, 30, …"""
    path = tmp_path_factory.mktemp("ramp") / "ramp.mp4"
    with VideoWriter(path, 32, 32, 25) as writer:
        for number in range(LENGTH):
            writer.write(np.full((32, 32, 3), 20 + 5 * number, np.uint8))
    return path


def shown(image: np.ndarray) -> int:
    """The number that a frame of `ramp` shows."""
    return round((float(image.mean()) - 20) / 5)


@pytest.mark.parametrize("num_frames", [1, 17, LENGTH, LENGTH + 1, 3 * LENGTH + 5])
@pytest.mark.parametrize("reverse_bytes", [1, 10**9])
def test_frames_follow_the_ping_pong_formula(ramp: Path, num_frames: int, reverse_bytes: int) -> None:
    frames = list(source_frames(ramp, num_frames, reverse_bytes))
    expected = [ping_pong_index(k, LENGTH) for k in range(num_frames)]
    assert [frame.index for frame in frames] == expected
    assert [shown(frame.image) for frame in frames] == expected


def test_playing_backwards_never_holds_more_than_its_stretch(ramp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: set[int] = set()
    most = 0
    real = frame_source.read_frames_at

    class Counted(np.ndarray):
        def __del__(self) -> None:
            alive.discard(id(self))

    def counted(path, fps):
        nonlocal most
        for image in real(path, fps):
            view = image.view(Counted)
            alive.add(id(view))
            most = max(most, len(alive))
            yield view

    monkeypatch.setattr(frame_source, "read_frames_at", counted)
    assert sum(1 for _ in source_frames(ramp, 3 * LENGTH, reverse_bytes=1)) == 3 * LENGTH
    assert most <= 16 + 4


def test_a_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)
    frames = list(source_frames(path, 5))
    assert [frame.index for frame in frames] == [0] * 5
    assert all((frame.image.reshape(-1) == np.arange(48)).all() for frame in frames)


def test_a_missing_input_is_named() -> None:
    with pytest.raises(UserError, match=r"gone\.mp4.*no such file"):
        list(source_frames("gone.mp4", 3))
