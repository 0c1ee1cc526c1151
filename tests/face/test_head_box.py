"""The box around a head is a detector's, does not follow the jaw, and stands still."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import median_filter

from latentsync.errors import UserError
from latentsync.face.detector import BoxDetector
from latentsync.face.head_box import SteadyBoxes, head_box, syncnet_crop
from latentsync.face.landmarks import Face, MediaPipeFaceFinder, face_from_mesh
from latentsync.media.frames import read_frames

RIGID = (10, 2, 33, 263, 234, 454)


def mesh() -> np.ndarray:
    """Points of a face of average proportions where they matter, anything elsewhere."""
    points = np.random.default_rng(0).uniform((60, 60), (140, 160), (478, 2))
    points[list(RIGID)] = [(100, 40), (100, 120), (75, 75), (125, 75), (45, 95), (155, 95)]
    return points


def test_jaw_and_lips_move_the_bounding_box_and_not_the_head_box() -> None:
    closed = mesh()
    opened = closed.copy()
    rest = np.setdiff1d(np.arange(478), RIGID)
    opened[rest[closed[rest, 1] > 120]] += [3, 25]
    assert face_from_mesh(opened).height > face_from_mesh(closed).height + 10
    assert np.array_equal(head_box(face_from_mesh(opened)), head_box(face_from_mesh(closed)))


def test_box_moves_grows_and_turns_with_the_face() -> None:
    x, y, half = head_box(face_from_mesh(mesh()))
    assert half == pytest.approx(0.906 * 0.73 * 110)
    assert (x, y) == (pytest.approx(100), pytest.approx(97.5 - 0.018 * half))
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = head_box(face_from_mesh(1.5 * mesh() @ turn.T + [30, 50]))
    np.testing.assert_allclose(moved[:2], 1.5 * turn @ [x, y] + [30, 50])
    assert moved[2] == pytest.approx(1.5 * half)


def test_box_of_three_points_stands_below_the_brows_on_the_side_of_the_nose() -> None:
    points = np.array([[80.0, 100], [120, 100], [100, 120]])
    np.testing.assert_allclose(head_box(Face(points, (0, 0, 1, 1))), [100, 100 + 0.526 * 40, 1.223 * 40])
    upside_down = head_box(Face(points * [1, -1], (0, 0, 1, 1)))
    assert upside_down[1] == pytest.approx(-100 - 0.526 * 40)


@pytest.mark.parametrize(
    ("clip", "detected"),  # the median box (x, y, half of the longer side) of CenterFace over the first second
    [("lbbc2a", (189.3, 186.1, 79.5)), ("sbia1a", (182.2, 170.0, 71.4)), ("brbk7n", (174.0, 178.1, 75.8))],
)
def test_box_of_a_real_face_is_that_of_a_detector(
    shared: Path, clip: str, detected: tuple[float, float, float]
) -> None:
    finder = MediaPipeFaceFinder(shared / "assets" / "weights" / "face_landmarker.task", num_faces=1)
    boxes = []
    for frame, _ in zip(read_frames(shared / "assets" / "clips" / f"{clip}.mpg"), range(25)):
        (face,) = finder.find(frame.image, frame.time)
        boxes.append(head_box(face))
    x, y, half = np.median(boxes, axis=0)
    assert half == pytest.approx(detected[2], rel=0.1)
    assert np.hypot(x - detected[0], y - detected[1]) < 0.1 * half


@pytest.mark.parametrize("count", [1, 5, 6, 7, 12, 13, 14, 40])
def test_steady_boxes_are_medians_over_thirteen_frames(count: int) -> None:
    boxes = np.random.default_rng(count).uniform(0, 100, (count, 3))
    steady: SteadyBoxes[int] = SteadyBoxes()
    for _ in range(2):  # the second track begins anew
        decided = [one for number, box in enumerate(boxes) for one in steady.push(number, box)]
        assert len(decided) == max(0, count - 6)
        decided += steady.end()
        assert [number for number, _ in decided] == list(range(count))
        expected = np.stack([median_filter(column, 13, mode="nearest") for column in boxes.T], axis=1)
        np.testing.assert_array_equal([box for _, box in decided], expected)


def test_crop_is_a_square_around_the_box_with_grey_beyond_the_picture() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[80:120, 80:120] = 255
    box = np.array([100.0, 100.0, 20.0])
    crop = syncnet_crop(image, box, 56)
    # The box is 40 of a side of 56, in the middle across and at the top.
    assert (crop[2:38, 10:46] > 250).all()
    assert (crop[:, :6] < 5).all()
    assert (crop[44:] < 5).all()
    small = syncnet_crop(image, box, 28)
    assert abs(float(small.mean()) - float(crop.mean())) < 3
    assert (syncnet_crop(image, box + np.array([100, 100, 0]), 56)[-4:, -4:] == 110).all()


def test_detector_finds_a_face_and_says_what_it_lacks(shared: Path, tmp_path: Path) -> None:
    detector = BoxDetector(shared / "assets" / "weights" / "face_landmarker.task")
    image = next(iter(read_frames(shared / "assets" / "clips" / "lbbc2a.mpg"))).image
    left, top, right, _ = detector.first_box(image)
    # The short-range detector's square reaches from the brows to the chin.
    assert abs((left + right) / 2 - 189) < 12
    assert 0.6 < (right - left) / (2 * 79.5) < 1.1
    assert top > 186 - 79
    assert detector.first_box(np.zeros_like(image)) is None
    edge = detector.first_box(np.ascontiguousarray(image[:, left + 20 :]))
    assert edge is None or edge[0] == 0
    (tmp_path / "other.task").write_bytes(b"no bundle")
    with pytest.raises(UserError, match="fetch face-landmarker"):
        BoxDetector(tmp_path / "other.task")
