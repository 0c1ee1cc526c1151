"""A face goes back where it came from; the rest of the frame does not change by one level."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.face import AlignedFace, FaceAligner, paste_back
from latentsync.face.paste_back import paste_box

POINTS = np.array([[270.0, 120.0], [350.0, 118.0], [312.0, 175.0]])


@pytest.fixture
def frame(formula) -> np.ndarray:
    return formula.image(360, 640)


def aligned(frame: np.ndarray, points: np.ndarray = POINTS) -> AlignedFace:
    return FaceAligner(256).align(frame, points)


def test_the_third_golden_frame_is_restored_as_published(goldens: Path, frame: np.ndarray) -> None:
    golden = np.load(goldens / "align_256.npz")
    aligner = FaceAligner(256)
    face = [aligner.align(frame, points) for points in golden["landmarks3"]][2]
    stand_in = np.clip(0.6 * (face.crop / 127.5 - 1) + 0.2, -1, 1)
    stand_in = np.rint((stand_in + 1) * 127.5).astype(np.uint8)
    ours = paste_back(frame, stand_in, face.matrix)[::2, ::2]
    error = np.abs(ours.astype(int) - golden["restored_2"])
    assert error.mean() <= 1
    assert (error <= 8).mean() >= 0.999
    assert np.abs(frame[::2, ::2].astype(int) - golden["restored_2"]).mean() > 3  # it is no trivial claim


def test_pixels_outside_the_face_are_untouched(frame: np.ndarray) -> None:
    face = aligned(frame)
    black = paste_back(frame, np.zeros_like(face.crop), face.matrix)
    y, x = np.mgrid[0:360, 0:640]
    inside = np.stack([x, y], -1) @ face.matrix[:, :2].T + face.matrix[:, 2]
    outside = ((inside <= -1) | (inside >= (210, 280))).any(axis=-1)
    assert np.array_equal(black[outside], frame[outside])
    middle = ((inside > 60) & (inside < (150, 220))).all(axis=-1)
    assert (black[middle] == 0).all()


def test_only_the_share_that_is_wanted_is_pasted(frame: np.ndarray) -> None:
    """Where the share is 0 the frame keeps its own pixels, unresampled; half-way it is the mean of both."""
    face = aligned(frame)
    black = np.zeros_like(face.crop)
    lower = np.zeros((256, 256), np.float32)
    lower[128:] = 0.5
    y, x = np.mgrid[0:360, 0:640]
    place = np.stack([x, y], -1) @ face.matrix[:, :2].T + face.matrix[:, 2]  # canvas of 210 x 280
    half = paste_back(frame, black, face.matrix, lower)
    upper = place[..., 1] < 135
    assert np.array_equal(half[upper], frame[upper])
    mouth = ((place > (60, 160)) & (place < (150, 220))).all(axis=-1)
    np.testing.assert_allclose(half[mouth], frame[mouth] / 2, atol=0.51)
    everything = paste_back(frame, black, face.matrix, np.ones((256, 256), np.float32))
    np.testing.assert_allclose(everything, paste_back(frame, black, face.matrix), atol=1)


def test_the_input_frame_is_not_changed(frame: np.ndarray) -> None:
    before = frame.copy()
    face = aligned(frame)
    paste_back(frame, np.zeros_like(face.crop), face.matrix)
    assert np.array_equal(frame, before)


def test_a_face_put_back_unchanged_nearly_restores_a_smooth_frame() -> None:
    y, x = np.mgrid[0:360, 0:640]
    frame = np.stack([128 + 80 * np.sin(x / 60), 128 + 80 * np.cos(y / 50), 128 + 60 * np.sin((x + y) / 70)], -1)
    frame = frame.astype(np.uint8)
    face = aligned(frame)
    error = np.abs(paste_back(frame, face.crop, face.matrix).astype(int) - frame)
    assert error.max() <= 3


@pytest.mark.parametrize(
    "points",
    [
        [[5.0, 20.0], [60.0, 18.0], [30.0, 60.0]],  # half outside on the left and above
        [[590.0, 300.0], [630.0, 300.0], [610.0, 340.0]],  # half outside on the right and below
    ],
)
def test_a_face_over_the_frames_edge_is_pasted_up_to_it(frame: np.ndarray, points: list[list[float]]) -> None:
    face = aligned(frame, np.array(points))
    white = paste_back(frame, np.full_like(face.crop, 255), face.matrix)
    assert white.shape == frame.shape
    nose = np.array(points[2]).astype(int)
    assert (white[nose[1], nose[0]] == 255).all()


def test_a_face_wholly_outside_changes_nothing(frame: np.ndarray) -> None:
    face = aligned(frame, POINTS + 5000)
    assert np.array_equal(paste_back(frame, face.crop, face.matrix), frame)


@pytest.mark.parametrize("resolution", [64, 128, 512])
def test_other_resolutions_cover_the_same_place(frame: np.ndarray, resolution: int) -> None:
    face = FaceAligner(resolution).align(frame, POINTS)
    large = aligned(frame)
    ours = (paste_back(frame, np.zeros_like(face.crop), face.matrix) != frame).any(-1)
    theirs = (paste_back(frame, np.zeros_like(large.crop), large.matrix) != frame).any(-1)
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.93


def test_a_face_that_is_not_square_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(R, R, 3\)"):
        paste_back(frame, np.zeros((256, 200, 3), np.uint8), aligned(frame).matrix)


@pytest.mark.parametrize("shift", [0, 250, -260])
def test_a_part_of_the_picture_that_holds_the_box_is_pasted_as_the_whole_is(frame: np.ndarray, shift: int) -> None:
    face = aligned(frame, POINTS + np.array([shift, 0]))
    whole = paste_back(frame, 255 - face.crop, face.matrix)
    box = paste_box(face.matrix, 256, frame.shape)
    assert box is not None
    top, bottom, left, right = box
    part = paste_back(frame[top:bottom, left:right], 255 - face.crop, face.matrix, None, (top, left), frame.shape[:2])
    assert np.array_equal(part, whole[top:bottom, left:right])
    elsewhere = whole.copy()
    elsewhere[top:bottom, left:right] = frame[top:bottom, left:right]
    assert np.array_equal(elsewhere, frame)
    assert not np.array_equal(whole, frame)
