"""Picture quality: enlarging, blurring and coding blocks are seen."""

import importlib.util
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from data_prep.quality import HyperIqa, blockiness, detail
from latentsync.errors import UserError


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
