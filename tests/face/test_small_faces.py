"""A face that is small beside its picture is found, followed, and searched for no more often than need be."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.face import Face, MediaPipeFaceFinder, select_largest
from latentsync.face.small_faces import PartSearch
from latentsync.media import read_frames, read_image

FACE = 100  # pixels


class NeedsATenth:
    """A detector as real ones are: it sees a white square that fills a tenth of the picture's longer side."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: np.ndarray) -> list[Face]:
        self.calls += 1
        rows, columns = np.nonzero(image[..., 0] == 255)
        if len(rows) == 0 or len(rows) < FACE * FACE or max(image.shape) / 10 > FACE:
            return []
        box = (float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1)
        return [Face(np.array([[box[0], box[1]], [box[2], box[1]], [box[0], box[3]]]), box)]


def picture(width: int, height: int, x: int, y: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[y : y + FACE, x : x + FACE] = 255
    return image


@pytest.mark.parametrize(
    ("width", "height", "x", "y"),
    [(300, 1500, 90, 200), (300, 6000, 20, 5900), (3000, 300, 1450, 100), (3840, 2160, 1900, 1000), (1500, 1500, 0, 0)],
)
def test_it_is_found_once_wherever_it_is_and_however_large_the_picture(width: int, height: int, x: int, y: int) -> None:
    detect = NeedsATenth()
    assert detect(picture(width, height, x, y)) == []
    (face,) = PartSearch(detect).search(picture(width, height, x, y), 0.0)
    assert face.box == (x, y, x + FACE, y + FACE)
    np.testing.assert_array_equal(face.landmarks3[0], (x, y))


def test_two_small_faces_are_two_and_one_seen_in_several_parts_is_one() -> None:
    def detect(image: np.ndarray) -> list[Face]:
        """Every white square, whole or cut off, that fills a tenth of the longer side."""
        count, _, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(image[..., 0]))
        boxes = [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h, _ in stats[1:count]]
        large = [box for box in boxes if 10 * (box[2] - box[0]) >= max(image.shape)]
        return [Face(np.array([[box[0], box[1]], [box[2], box[1]], [box[0], box[3]]]), box) for box in large]

    two = picture(300, 6000, 20, 100)
    two[3000 : 3000 + FACE, 150 : 150 + FACE] = 255
    found = sorted(face.box for face in PartSearch(detect).search(two, 0.0))
    assert found == [(20, 100, 20 + FACE, 100 + FACE), (150, 3000, 150 + FACE, 3000 + FACE)]


def test_a_found_face_is_followed_with_one_detection_a_frame() -> None:
    detect = NeedsATenth()
    parts = PartSearch(detect)
    parts.search(picture(300, 3000, 100, 100), 0.0)
    for number in range(1, 20):
        before = detect.calls
        (face,) = parts.follow(picture(300, 3000, 100, 100 + 10 * number), number / 25)
        assert face.box[1] == 100 + 10 * number
        assert detect.calls == before + 1


def test_everything_is_searched_anew_each_second_and_after_a_loss() -> None:
    parts = PartSearch(NeedsATenth())
    parts.search(picture(300, 3000, 100, 100), 0.0)
    assert parts.follow(picture(300, 3000, 100, 2500), 0.5) == []
    assert parts.follow(picture(300, 3000, 100, 100), 0.6) == []  # it was lost
    parts.search(picture(300, 3000, 100, 2500), 1.0)
    assert parts.follow(picture(300, 3000, 100, 2500), 1.9) != []
    assert parts.follow(picture(300, 3000, 100, 2500), 2.1) == []


def test_where_there_is_nobody_it_is_searched_ever_more_rarely() -> None:
    detect = NeedsATenth()
    parts = PartSearch(detect)
    empty = np.zeros((1000, 1000, 3), np.uint8)
    parts.search(empty, 0.0)
    once = detect.calls
    for number in range(1, 25 * 30):
        parts.search(empty, number / 25)
    assert detect.calls <= 6 * once  # at 0, 2, 6, 14 and 22 s


@pytest.fixture(scope="module")
def finder(shared: Path) -> MediaPipeFaceFinder:
    return MediaPipeFaceFinder(shared / "assets" / "weights" / "face_landmarker.task")


def test_a_face_of_115_pixels_is_found_in_a_tall_picture(finder: MediaPipeFaceFinder, shared: Path) -> None:
    tall = shared / "data" / "cases" / "tall1500.png"
    if not tall.is_file():
        pytest.skip("shared/data/cases is not there")
    finder.reset()
    face = select_largest(finder.find(read_image(tall), 0.0))
    assert face is not None
    assert 100 < face.width < 130
    assert 180 < face.box[1] < 210


@pytest.mark.parametrize(("width", "height"), [(400, 4000), (4000, 400), (2400, 2400)])
def test_a_real_face_is_found_in_a_picture_of_any_shape(
    finder: MediaPipeFaceFinder, shared: Path, width: int, height: int
) -> None:
    frame = next(iter(read_frames(shared / "assets" / "clips" / "brbk7n.mpg"))).image
    finder.reset()
    alone = select_largest(finder.find(frame, 0.0))
    assert alone is not None
    large = np.full((height, width, 3), 120, np.uint8)
    top, left = (height - frame.shape[0]) // 3, (width - frame.shape[1]) // 3
    large[top : top + frame.shape[0], left : left + frame.shape[1]] = frame
    finder.reset()
    for number in range(3):
        (face,) = finder.find(large, number / 25)
        assert np.abs(face.landmarks3 - (left, top) - alone.landmarks3).max() < 4
