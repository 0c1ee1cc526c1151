"""Pose, size, place, light, detail and coding blocks of a face are measured as they were made."""

import importlib.util
import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from data_prep.candidate import FaceFrame
from data_prep.face_quality import _POSE_MODEL, _POSE_POINTS, HyperIqa, blockiness, detail, look_at, measure_crop
from latentsync.errors import UserError
from latentsync.face import Face

WIDTH, HEIGHT = 640, 480


def turned_face(yaw: float = 0, pitch: float = 0, roll: float = 0) -> Face:
    """The pose model, turned and seen by a camera, as a mesh."""
    turns = [cv2.Rodrigues(np.radians([[pitch], [0], [0]], dtype=float).reshape(3, 1))[0]]
    turns.append(cv2.Rodrigues(np.radians([0, yaw, 0]).astype(float).reshape(3, 1))[0])
    turns.append(cv2.Rodrigues(np.radians([0, 0, roll]).astype(float).reshape(3, 1))[0])
    points = _POSE_MODEL @ (turns[2] @ turns[1] @ turns[0]).T + [0, 0, 600]
    seen = points[:, :2] / points[:, 2:] * WIDTH + [WIDTH / 2, HEIGHT / 2]
    mesh = np.tile(seen.mean(axis=0), (478, 1))
    mesh[list(_POSE_POINTS)] = seen
    low, high = seen.min(axis=0), seen.max(axis=0)
    return Face(seen[:3], (low[0], low[1], high[0], high[1]), mesh)


@pytest.mark.parametrize(
    ("made", "axis"), [({"yaw": 30}, 0), ({"yaw": -40}, 0), ({"pitch": 25}, 1), ({"pitch": -25}, 1), ({"roll": 40}, 2)]
)
def test_pose_of_a_turned_head_is_found_to_three_degrees(made: dict, axis: int) -> None:
    pose = look_at(np.zeros((HEIGHT, WIDTH, 3), np.uint8), turned_face(**made), False).pose
    assert abs(abs(pose[axis]) - abs(next(iter(made.values())))) < 3
    assert max(abs(angle) for number, angle in enumerate(pose) if number != axis) < 3


def test_upside_down_head_is_tilted_by_half_a_turn() -> None:
    pose = look_at(np.zeros((HEIGHT, WIDTH, 3), np.uint8), turned_face(roll=180), False).pose
    assert abs(abs(pose[2]) - 180) < 3


def test_three_points_alone_tell_tilt_and_side() -> None:
    def pose(points: list) -> tuple:
        return look_at(np.zeros((90, 90, 3), np.uint8), Face(np.array(points, float), (0, 0, 50, 50)), False).pose

    assert pose([[20, 20], [40, 20], [30, 32]]) == (0.0, 0.0, 0.0)
    assert pose([[20, 20], [40, 40], [24, 38]])[2] == pytest.approx(45)
    assert abs(pose([[20, 20], [40, 20], [40, 32]])[0]) > 35, "the nose stands below the brow's end"


@pytest.fixture
def picture() -> np.ndarray:
    """(480, 640, 3) of fine texture, mid grey."""
    return np.random.default_rng(0).integers(60, 190, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def measured(image: np.ndarray, box: tuple[float, float, float, float]) -> dict:
    face = Face(np.array([[10.0, 10], [30, 10], [20, 20]]), box)
    look = look_at(image, face, True)
    frames = [FaceFrame(index, index, index / 25, face, True, look, image, 1.0, 0.0) for index in range(3)]
    return measure_crop(frames)


def test_size_place_and_light_are_measured(picture: np.ndarray) -> None:
    row = measured(picture, (270, 190, 370, 290))
    assert (row["crop_face_width"], row["crop_face_height"], row["crop_inside"]) == (100, 100, 1)
    assert row["crop_centring"] == 0
    assert 110 < row["crop_brightness"] < 140
    assert row["crop_clipped"] == 0
    cut_by_the_edge = measured(picture, (-50, 0, 50, 100))
    assert cut_by_the_edge["crop_inside"] == 0.5
    assert cut_by_the_edge["crop_centring"] > 0.8


@pytest.mark.parametrize(
    ("column", "change", "grows"),
    [
        ("crop_sharpness", lambda image: cv2.GaussianBlur(image, (0, 0), 3), False),
        ("crop_brightness", lambda image: image // 8, False),
        ("crop_clipped", lambda image: np.where(np.arange(WIDTH)[:, None] < 320, 255, image).astype(np.uint8), True),
    ],
)
def test_blur_darkness_and_clipping_show(
    picture: np.ndarray, column: str, change: Callable[[np.ndarray], np.ndarray], grows: bool
) -> None:
    before, after = (measured(image, (270, 190, 370, 290))[column] for image in (picture, change(picture)))
    assert after > 5 * before + 0.1 if grows else after < before / 5


def test_face_beside_the_picture_is_measured_as_bad_and_not_an_error(picture: np.ndarray) -> None:
    row = measured(picture, (700, 500, 800, 600))
    assert row["crop_inside"] == 0
    assert row["crop_sharpness"] == 0
    assert not any(math.isnan(value) for value in row.values())


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    """(128, 128, 3): noise with detail at all scales."""
    rng = np.random.default_rng(0)
    layers: Iterator[np.ndarray] = (
        cv2.resize(rng.normal(0, 1, (size, size)).astype(np.float32), (128, 128), interpolation=cv2.INTER_CUBIC)
        for size in (7, 17, 35, 67, 128)
    )
    picture = 128 + 18 * sum(layers, np.zeros((128, 128), np.float32))
    return np.repeat(picture.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_enlarged_picture_has_less_detail(texture: np.ndarray) -> None:
    scores = []
    for size in (128, 64, 32):
        small = cv2.resize(texture, (size, size), interpolation=cv2.INTER_AREA)
        scores.append(detail(cv2.resize(small, (128, 128), interpolation=cv2.INTER_CUBIC)))
    assert scores[0] > 2 * scores[1] > 4 * scores[2]


def test_blocks_of_jpeg_show_wherever_the_face_begins(texture: np.ndarray) -> None:
    smooth = cv2.GaussianBlur(texture, (0, 0), 2)
    done, data = cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 8])
    assert done
    coded = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2GRAY)
    grey = cv2.cvtColor(smooth, cv2.COLOR_RGB2GRAY)
    assert blockiness(coded) > 1.3
    assert blockiness(coded[3:, 5:], x0=5, y0=3) > 1.3
    assert blockiness(coded[3:, 5:]) < 1.1, "off the grid"
    assert blockiness(grey) == pytest.approx(1, abs=0.05)


def test_flat_and_tiny_pictures_have_no_blocks() -> None:
    assert blockiness(np.full((40, 40), 90, np.uint8)) == 1
    assert blockiness(np.zeros((3, 3), np.uint8)) == 1


@pytest.mark.skipif(importlib.util.find_spec("pyiqa") is not None, reason="pyiqa is installed")
def test_missing_pyiqa_names_the_extra_and_the_switch() -> None:
    with pytest.raises(UserError, match=r"\[quality\].*hyperiqa=false"):
        HyperIqa()
