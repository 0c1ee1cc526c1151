"""Active speaker: the mouth that follows the sound is told from one that does not, also when the sound is shifted."""

import numpy as np
import pytest

from data_prep.active_speaker import Mouths, best_correlation, loudness, measure_speaker


def speech(seed: int, num_frames: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """(mouth openings, sound): syllables of random length whose loudness the mouth follows."""
    rng = np.random.default_rng(seed)
    envelope = np.convolve(rng.random(num_frames) < 0.2, np.hanning(9), mode="same").clip(0.01, 1)
    wave = rng.normal(0, 0.2, num_frames * 640) * np.repeat(envelope, 640)
    return 0.08 * envelope + rng.normal(0, 0.002, num_frames), wave.astype(np.float32)


@pytest.mark.parametrize("shift", [-12, 0, 12])
def test_talking_mouth_wins_over_another_talkers_and_a_frozen_one(shift: int) -> None:
    own, wave = speech(1)
    other, _ = speech(2)
    frozen = np.random.default_rng(3).normal(0.02, 0.001, len(own))
    wave = np.roll(wave, shift * 640)
    row = measure_speaker(own, [other, frozen], wave)
    assert row["speaker_correlation"] > 0.7
    assert row["speaker_motion"] > 0.01
    assert row["speaker_rival"] < -0.2
    listener = measure_speaker(other, [own], wave)
    assert listener["speaker_rival"] == -row["speaker_rival"] or listener["speaker_rival"] > 0.2
    assert measure_speaker(frozen, [own], wave)["speaker_motion"] < 0.004


def test_silence_is_measured_as_such() -> None:
    own, wave = speech(1)
    assert measure_speaker(own, [], 0 * wave)["speaker_loudness"] == -100
    assert -30 < measure_speaker(own, [], wave)["speaker_loudness"] < -5
    assert loudness(np.full(640, 0.1, np.float32)) == pytest.approx([-20], abs=0.01)


def test_without_a_mesh_only_the_loudness_is_known() -> None:
    _, wave = speech(1)
    assert set(measure_speaker(np.full(150, np.nan), [], wave)) == {"speaker_loudness"}


def test_correlation_of_what_does_not_vary_is_zero() -> None:
    assert best_correlation(np.ones(100), np.arange(100.0)) == 0


def test_mouths_are_compared_in_the_frames_that_show_both() -> None:
    mouths = Mouths()
    for index in range(50):
        mouths.remember(0, index, 0.1)
        if index >= 45:
            mouths.remember(1, index, 0.2)
        if index < 5:
            mouths.remember(2, index, 0.3)
    own, others = mouths.compared(0, 10, 50)
    assert own.tolist() == [0.1] * 40
    assert len(others) == 1
    assert np.isnan(others[0][:35]).all()
    assert others[0][35:].tolist() == [0.2] * 5
    assert mouths.num_others(0, 10, 50) == 0, "five frames do not count"
