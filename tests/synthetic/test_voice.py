"""Claims about synthetic speech."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from latentsync.media.mel import log_mel
from latentsync.synthetic.articulation import draw_articulation
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, draw_person
from latentsync.synthetic.voice import synthesise_voice

RATE = 16000


def speak(identity: int, seconds: float, seed: int):
    articulation = draw_articulation(round(seconds * 25), np.random.default_rng([seed, 0]))
    wave = synthesise_voice(articulation, draw_person(identity).voice, np.random.default_rng([seed, 1]), RATE)
    return articulation, wave


def level(wave: np.ndarray) -> float:
    """Root mean square in dB of full scale."""
    return float(20 * np.log10(np.sqrt(np.mean(wave.astype(np.float64) ** 2)) + 1e-9))


def test_the_wave_is_as_long_as_the_pictures_and_in_range():
    articulation, wave = speak(0, 3.0, 0)
    assert wave.shape == (48000,)
    assert wave.dtype == np.float32
    assert 0.05 < np.abs(wave).max() <= 1.0
    assert articulation.seconds == 3.0


def test_equal_seeds_give_equal_sound():
    np.testing.assert_array_equal(speak(3, 2.0, 4)[1], speak(3, 2.0, 4)[1])


@pytest.mark.parametrize("identity", [0, 1, 2, 3, 4])
def test_pauses_and_closures_are_all_but_silent(identity):
    articulation, wave = speak(identity, 8.0, identity)
    track = articulation.at(np.arange(len(wave)) / RATE)
    # Filters ring for some milliseconds: 25 ms from the edges of a silence, only the room is left.
    silent = binary_erosion(track.pause & track.closure, iterations=RATE // 40)
    assert silent.sum() > RATE // 10
    assert level(wave[silent]) < level(wave[track.opening > 0.3]) - 35


def features(articulation, wave: np.ndarray) -> np.ndarray:
    """Log-mel around each frame (F, 5 · 80 + 1): 5 columns at 80 a second, the middle one at the frame's middle."""
    mel = log_mel(wave)
    centres = np.rint((np.arange(articulation.num_frames) + 0.5) / 25 * 80).astype(int)
    columns = np.clip(centres[:, None] + np.array([-4, -2, 0, 2, 4]), 0, mel.shape[1] - 1)
    stacked = mel[:, columns].transpose(1, 0, 2).reshape(articulation.num_frames, -1)
    return np.concatenate([stacked, np.ones((len(stacked), 1))], axis=1)


@pytest.mark.slow
def test_opening_width_and_rounding_can_be_heard_by_a_linear_listener():
    """Ridge regression from log-mel, learned on 30 voices, tried on 8 that it never heard."""
    tracks = ("opening", "width", "rounding")

    def corpus(identities):
        spoken = [speak(identity, 6.0, identity) for identity in identities]
        inputs = np.concatenate([features(*pair) for pair in spoken])
        return inputs, np.concatenate([np.stack([getattr(a, t) for t in tracks], 1) for a, _ in spoken])

    inputs, targets = corpus(range(30))
    weights = np.linalg.solve(inputs.T @ inputs + 30.0 * np.eye(inputs.shape[1]), inputs.T @ targets)
    unheard, truth = corpus(HELD_OUT_IDENTITIES[:8])
    scores = [np.corrcoef(unheard @ weights[:, k], truth[:, k])[0, 1] for k in range(3)]
    print("correlation heard with true", dict(zip(tracks, np.round(scores, 3))))
    assert scores[0] >= 0.9
    assert min(scores[1:]) >= 0.7


def test_the_first_formant_rises_with_the_opening():
    articulation, wave = speak(2, 20.0, 9)
    starts = np.arange(0, len(wave) - 1024, 256)
    track = articulation.at((starts + 512) / RATE)
    spectra = np.abs(np.fft.rfft(np.lib.stride_tricks.sliding_window_view(wave, 1024)[starts] * np.hanning(1024)))
    frequencies = np.fft.rfftfreq(1024, 1 / RATE)
    low = (frequencies > 150) & (frequencies < 1100)
    centroid = (spectra[:, low] * frequencies[low]).sum(1) / spectra[:, low].sum(1)
    voiced = (track.opening > 0.15) & (track.voice > 0.8)
    assert np.corrcoef(centroid[voiced], track.opening[voiced])[0, 1] > 0.7


def test_speakers_differ_in_pitch_and_formants():
    voices = [draw_person(seed).voice for seed in range(40)]
    assert min(v.pitch for v in voices) < 105
    assert max(v.pitch for v in voices) > 200
    assert max(v.tract_scale for v in voices) / min(v.tract_scale for v in voices) > 1.15
