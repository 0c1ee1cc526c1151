"""FID with the real Inception: 0 of a set against itself, and more the more its pictures are damaged."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from eval.metrics.fid import FaceFid
from eval.sets import Moments, frechet_distance
from latentsync.errors import UserError

SET, SIDE = 24, 96


def pictures() -> np.ndarray:
    """(SET, SIDE, SIDE, 3) uint8: smooth shapes with edges, of many colours."""
    rng = np.random.default_rng(0)
    out = np.stack([cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (SIDE, SIDE)) for _ in range(SET)])
    for picture in out:
        center = (int(rng.integers(20, 70)), int(rng.integers(20, 70)))
        cv2.circle(picture, center, 18, [int(value) for value in rng.integers(0, 256, 3)], -1)
    return out


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(content, cv2.IMREAD_COLOR)


def noisy(picture: np.ndarray, spread: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, spread, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


DAMAGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "blur": (lambda x: cv2.GaussianBlur(x, (0, 0), 1), lambda x: cv2.GaussianBlur(x, (0, 0), 4)),
    "noise": (lambda x: noisy(x, 8), lambda x: noisy(x, 40)),
    "jpeg": (lambda x: jpeg(x, 60), lambda x: jpeg(x, 5)),
}


def moments(features: np.ndarray) -> Moments:
    found = Moments(features.shape[1])
    found.add(features)
    return found


@pytest.fixture(scope="module")
def fid() -> FaceFid:
    try:
        return FaceFid()
    except UserError as error:
        pytest.skip(f"needs the real network: {error}")


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_nothing_for_the_same_set_and_grows_with_damage(damage: str, fid: FaceFid) -> None:
    clean = pictures()
    true = moments(fid._features(clean))
    assert frechet_distance(true, true) == pytest.approx(0, abs=1e-3)
    little, much = (
        frechet_distance(moments(fid._features(np.stack([change(one) for one in clean]))), true)
        for change in DAMAGES[damage]
    )
    assert 0 < little < much
