"""Claims about reading the mouth opening from pixels."""

import cv2
import numpy as np
import pytest

from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, draw_clip
from latentsync.synthetic.mouth import measure_mouth_opening

PEOPLE = [*range(16), *HELD_OUT_IDENTITIES[:4]]


@pytest.fixture(scope="module")
def clips():
    return [draw_clip(identity, 3.0, 128, seed=40 + identity % 7) for identity in PEOPLE]


def correlation(clip, frames: np.ndarray) -> float:
    return float(np.corrcoef(measure_mouth_opening(frames), clip.articulation.opening)[0, 1])


def blurred(frame: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(frame, (0, 0), 1.5)


def compressed(frame: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)


def halved(frame: np.ndarray) -> np.ndarray:
    return cv2.resize(cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA), (128, 128))


def test_measured_opening_follows_the_truth_for_every_person(clips):
    scores = [correlation(clip, clip.frames) for clip in clips]
    print("correlation", np.round(scores, 3))
    assert min(scores) >= 0.98


@pytest.mark.parametrize("damage", [blurred, compressed, halved])
def test_measured_opening_survives(clips, damage):
    scores = [correlation(clip, np.stack([damage(frame) for frame in clip.frames])) for clip in clips]
    print(damage.__name__, "correlation", np.round(scores, 3))
    assert min(scores) >= 0.95


def test_a_shut_mouth_measures_zero_and_a_wide_one_near_one(clips):
    for clip in clips:
        measured = measure_mouth_opening(clip.frames)
        assert measured[clip.articulation.closure].max() < 0.05
        assert np.abs(measured - clip.articulation.opening).max() < 0.15


def test_the_measure_does_not_depend_on_the_resolution():
    small, large = (draw_clip(5, 1.0, resolution, seed=1, jitter=0.0).frames for resolution in (128, 256))
    np.testing.assert_allclose(measure_mouth_opening(small), measure_mouth_opening(large), atol=0.08)


@pytest.mark.parametrize("frames", [np.zeros((2, 64, 64), np.uint8), np.zeros((2, 64, 64, 3), np.float32)])
def test_other_arrays_are_refused(frames):
    with pytest.raises(ValueError, match=r"must be \(F, R, R, 3\) uint8"):
        measure_mouth_opening(frames)
