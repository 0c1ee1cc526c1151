"""Claims about articulation tracks."""

import numpy as np
import pytest

from latentsync.media.rates import FPS
from latentsync.synthetic.articulation import VOWELS, draw_articulation


def draw(seed: int, seconds: float = 40.0):
    return draw_articulation(round(seconds * FPS), np.random.default_rng(seed))


def test_values_stay_in_their_ranges():
    track = draw(0)
    assert track.opening.min() == 0.0
    assert 0.9 < track.opening.max() <= 1.0
    assert track.width.min() < -0.5
    assert track.width.max() > 0.7
    assert np.abs(track.width).max() <= 1.0
    assert track.rounding.min() >= 0.0
    assert 0.8 < track.rounding.max() <= 1.0


def test_same_seed_gives_the_same_track_and_another_seed_an_unrelated_one():
    np.testing.assert_array_equal(draw(1).opening, draw(1).opening)
    correlations = [np.corrcoef(draw(1).opening, draw(seed).opening)[0, 1] for seed in range(2, 10)]
    assert np.abs(correlations).max() < 0.2


def test_the_mouth_is_shut_in_pauses_and_closures():
    track = draw(2)
    inner = track.pause & np.roll(track.pause, 1) & np.roll(track.pause, -1)
    assert inner.sum() > 20
    assert track.opening[inner].max() < 0.03
    assert track.opening[track.closure].max() < 0.03


def test_three_to_five_syllables_a_second():
    track = draw(3)
    opening = track.curves.opening
    peaks = np.flatnonzero((opening[1:-1] > opening[:-2]) & (opening[1:-1] >= opening[2:]) & (opening[1:-1] > 0.2))
    speaking = (~track.pause).mean() * track.seconds
    assert 2.0 < len(peaks) / speaking < 6.0


def test_the_mouth_moves_smoothly():
    track = draw(4)
    assert np.abs(np.diff(track.opening)).max() < 0.75
    assert np.abs(np.diff(track.curves.opening)).max() < 0.06


def test_opening_is_not_the_same_thing_as_width_or_rounding():
    track = draw(5, 120.0)
    assert abs(np.corrcoef(track.opening, track.width)[0, 1]) < 0.5
    assert abs(np.corrcoef(track.opening, track.rounding)[0, 1]) < 0.5


def test_frames_are_the_curves_at_the_middle_of_each_frame():
    track = draw(6, 2.0)
    again = track.at((np.arange(track.num_frames) + 0.5) / FPS)
    np.testing.assert_array_equal(track.opening, again.opening)
    np.testing.assert_array_equal(track.pause, again.pause)
    assert track.num_frames == 50


def test_vowels_are_told_apart_by_their_posture():
    postures = np.array([(v.opening, v.width, v.rounding) for v in VOWELS.values()])
    distances = np.linalg.norm(postures[:, None] - postures[None], axis=-1)
    assert distances[~np.eye(len(postures), dtype=bool)].min() > 0.3


def test_a_track_without_frames_is_refused():
    with pytest.raises(ValueError, match="at least one frame"):
        draw_articulation(0, np.random.default_rng(0))
