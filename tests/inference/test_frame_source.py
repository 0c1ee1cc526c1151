"""The frame source: cut, ping-pong, loop, hold and pictures, against the index formula."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.errors import UserError
from latentsync.inference.frame_source import source_frames
from latentsync.media import VideoLook, VideoWriter, still_picture

LENGTH = 40


def ping_pong_index(position: int, num_source: int) -> int:
    """The source frame shown at output `position`: 0 … n−1, n−1 … 0, 0 … n−1 and so on (as published, ends twice)."""
    cycle, offset = divmod(position, num_source)
    return offset if cycle % 2 == 0 else num_source - 1 - offset


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of 40 frames whose grey level tells the frame's number: 20, 25, 30, …"""
    path = tmp_path_factory.mktemp("ramp") / "ramp.mp4"
    with VideoWriter(path, 32, 32, 25) as writer:
        for number in range(LENGTH):
            writer.write(np.full((32, 32, 3), 20 + 5 * number, np.uint8))
    return path


def write_timed(path: Path, milliseconds: list[int]) -> None:
    """A video with pictures at these times."""
    look = VideoLook(32, 32, time_base=Fraction(1, 1000))
    with VideoWriter(path, 32, 32, 25, look=look) as writer:
        for number, pts in enumerate(milliseconds):
            image = np.full((32, 32, 3), 20 + 5 * number, np.uint8)
            writer.write_frame(still_picture(image).unchanged(), pts, 60)


def shown(image: np.ndarray) -> int:
    """The number that a frame of `ramp` shows."""
    return round((float(image.mean()) - 20) / 5)


@pytest.mark.parametrize("num_frames", [1, 17, LENGTH, LENGTH + 1, 3 * LENGTH + 5])
@pytest.mark.parametrize("reverse_bytes", [1, 10**9])
def test_frames_follow_the_ping_pong_formula(ramp: Path, num_frames: int, reverse_bytes: int) -> None:
    frames = list(source_frames(ramp, num_frames / 25, reverse_bytes=reverse_bytes))
    expected = [ping_pong_index(k, LENGTH) for k in range(num_frames)]
    assert [frame.index for frame in frames] == expected
    assert [shown(frame.image) for frame in frames] == expected
    assert [frame.time for frame in frames] == pytest.approx([k / 25 for k in range(num_frames)])


@pytest.mark.parametrize(
    ("longer_audio", "expected"),
    [
        ("loop", [*range(LENGTH), *range(LENGTH), *range(5)]),
        ("hold", [*range(LENGTH), *[LENGTH - 1] * 45]),
        ("stop", [*range(LENGTH)]),
    ],
)
def test_other_ways_to_fill_longer_sound(ramp: Path, longer_audio: str, expected: list[int]) -> None:
    frames = list(source_frames(ramp, (2 * LENGTH + 5) / 25, longer_audio))
    assert [frame.index for frame in frames] == expected
    assert [shown(frame.image) for frame in frames] == expected
    assert [frame.time for frame in frames] == pytest.approx([k / 25 for k in range(len(expected))])
    jumps = [LENGTH, 2 * LENGTH] if longer_audio == "loop" else []
    assert [number for number, frame in enumerate(frames) if frame.jump] == jumps


def test_the_rest_of_a_longer_video_is_kept_when_asked(ramp: Path) -> None:
    frames = list(source_frames(ramp, 0.4, shorter_audio="keep"))
    assert [frame.speaks for frame in frames] == [True] * 10 + [False] * (LENGTH - 10)


def test_a_varying_rate_is_mirrored_with_its_pauses(tmp_path: Path) -> None:
    times = [0, 40, 200, 240, 300]  # ms
    write_timed(tmp_path / "a.mkv", times)
    frames = list(source_frames(tmp_path / "a.mkv", 1.0))
    assert [frame.index for frame in frames[:11]] == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0, 0]
    ends = [*times, 360]
    mirrored = [720 - end for end in ends[:0:-1]]
    assert [round(frame.time * 1000) for frame in frames[:11]] == [*times, *mirrored, 720]


def test_a_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "face.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)
    frames = list(source_frames(path, 0.2))
    assert [frame.index for frame in frames] == [0] * 5
    assert all((frame.image.reshape(-1) == np.arange(48)).all() for frame in frames)


def test_a_missing_input_is_named() -> None:
    with pytest.raises(UserError, match=r"gone\.mp4.*no such file"):
        list(source_frames("gone.mp4", 1.0))
