"""The mel that SyncNet hears equals the published one."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.media import log_mel, mel_window
from latentsync.media.mel import window_length


def test_mel_equals_the_golden(goldens: Path, formula) -> None:
    mel = log_mel(formula.wave(2.2))
    golden = np.load(goldens / "mel.npz")["mel"]
    assert mel.shape == golden.shape == (80, 177)
    assert mel.dtype == np.float32
    assert np.abs(mel - golden).max() < 1e-3


def test_silence_is_the_lowest_value() -> None:
    assert (log_mel(np.zeros(16000, np.float32)) == -4).all()


def test_twice_the_sound_is_six_decibels_more(formula) -> None:
    quiet, loud = log_mel(0.1 * formula.wave(1.0)), log_mel(0.2 * formula.wave(1.0))
    inside = (quiet > -3.9) & (loud < 3.9)
    assert np.abs((loud - quiet)[inside] - 20 * np.log10(2) * 8 / 100).max() < 1e-3


def test_windows_follow_the_video_frames() -> None:
    mel = np.arange(80 * 200, dtype=np.float32).reshape(80, 200)
    for start in (0, 1, 7, 20):
        first = int(80 * start / 25)
        assert np.array_equal(mel_window(mel, start), mel[:, first : first + 52])
    assert [window_length(n) for n in (5, 16, 10, 25)] == [16, 52, 32, 80]


def test_a_window_past_the_end_is_filled_with_silence() -> None:
    window = mel_window(np.zeros((80, 60), np.float32), 10)
    assert window.shape == (80, 52)
    assert (window[:, :28] == 0).all()
    assert (window[:, 28:] == -4).all()
    assert (mel_window(np.zeros((80, 60), np.float32), 100) == -4).all()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N,\)"):
        log_mel(np.zeros((2, 16000), np.float32))
    with pytest.raises(ValueError, match="N > 0"):
        log_mel(np.zeros(0, np.float32))
    with pytest.raises(ValueError, match="start_frame"):
        mel_window(np.zeros((80, 60), np.float32), -1)
