"""Shots: cuts and dissolves are found where they are, motion and light are not taken for them."""

import cv2
import numpy as np
import pytest

from data_prep.shots import ShotFrame, ShotSplitter
from latentsync.errors import UserError
from latentsync.media.frames import SteadyFrame


def scene(seed: int, count: int, drift: float = 0.0) -> list[np.ndarray]:
    """Frames of one place: smooth random shapes, (90, 160, 3), that drift by some pixels a frame, with sensor noise."""
    rng = np.random.default_rng(seed)
    wide = cv2.resize(rng.integers(0, 256, (7, 24, 3), dtype=np.uint8), (480, 90), interpolation=cv2.INTER_CUBIC)
    frames = []
    for index in range(count):
        left = round(60 + drift * index)
        noise = rng.normal(0, 2, (90, 160, 3))
        frames.append((wide[:, left : left + 160] + noise).clip(0, 255).astype(np.uint8))
    return frames


def split(images: list[np.ndarray], **settings: float) -> list[ShotFrame]:
    splitter = ShotSplitter(**settings)  # type: ignore[arg-type]
    found: list[ShotFrame] = []
    for index, image in enumerate(images):
        found += splitter.push(SteadyFrame(index, image, index, index / 25))
    return found + list(splitter.flush())


def begins(found: list[ShotFrame]) -> list[tuple[int, int, str]]:
    return [(frame.frame.index, frame.shot, frame.begin) for frame in found if frame.begin is not None]


def test_hard_cuts_begin_shots_in_the_very_frame() -> None:
    images = scene(1, 40) + scene(2, 33) + scene(3, 40)
    found = split(images)
    assert [frame.frame.index for frame in found] == list(range(113)), "each frame comes out once, in order"
    assert begins(found) == [(0, 0, "start"), (40, 1, "cut"), (73, 2, "cut")]


@pytest.mark.parametrize("length", [12, 20, 30])
def test_frames_of_a_dissolve_belong_to_no_shot(length: int) -> None:
    before, after = scene(1, 40 + length), scene(2, 40 + length)
    shares = np.linspace(0, 1, length + 2)[1:-1]
    mixed = [
        (one * (1.0 - share) + other * share).astype(np.uint8)
        for one, other, share in zip(before[40:], after[:length], shares)
    ]
    found = split(before[:40] + mixed + after[length:])
    (_, _, start), (first_after, shot, begin) = begins(found)
    assert (start, begin, shot) == ("start", "dissolve", 1)
    assert abs(first_after - (40 + length)) <= 4
    left = {frame.frame.index for frame in found}
    assert not left & set(range(43, 37 + length)), "nothing of its middle comes out"
    assert set(range(36)) <= left
    assert set(range(44 + length, 80 + length)) <= left


def test_motion_and_flicker_are_no_cuts() -> None:
    assert begins(split(scene(1, 80, drift=3.0))) == [(0, 0, "start")]
    flicker = [(image * (1.0 - 0.2 * (index % 2))).astype(np.uint8) for index, image in enumerate(scene(2, 60))]
    assert begins(split(flicker)) == [(0, 0, "start")]


def test_shorter_shots_than_asked_for_do_not_end() -> None:
    images = scene(1, 40) + scene(2, 8) + scene(3, 40)
    assert [index for index, _, _ in begins(split(images, min_frames=15))] == [0, 40]
    assert [index for index, _, _ in begins(split(images, min_frames=4))] == [0, 40, 48]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"measure\.shots"):
        ShotSplitter(threshold=0)
