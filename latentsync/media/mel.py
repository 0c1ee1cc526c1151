"""The log-mel spectrogram that SyncNet hears (numbers of the published LatentSync, from Wav2Lip's SyncNet)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from latentsync.media.rates import SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor

NUM_MELS = 80
MELS_PER_SECOND = 80  # hop of 200 samples
SILENCE = -4.0  # the lowest value, also the padding

_N_FFT = 800
_HOP = 200
_PRE_EMPHASIS = 0.97
_MIN_HZ, _MAX_HZ = 55.0, 7600.0
_MIN_DB, _REFERENCE_DB = -100.0, 20.0
_LARGEST = 4.0


@cache
def _filters() -> Tensor:
    """(401, 80) Slaney mel filters."""
    import torch
    from transformers.audio_utils import mel_filter_bank  # takes half a second to import

    bank = mel_filter_bank(
        num_frequency_bins=_N_FFT // 2 + 1,
        num_mel_filters=NUM_MELS,
        min_frequency=_MIN_HZ,
        max_frequency=_MAX_HZ,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(bank).float()


def log_mel(wave: np.ndarray) -> np.ndarray:
    """Mel of 16 kHz mono sound.

    wave: (N,) float in [-1, 1]. Returns float32 (80, T) in [-4, 4], T = N // 200 + 1.
    x = pre-emphasised magnitude mel; 8·(20·log10(max(1e-5, x)) − 20 + 100)/100 − 4, clipped.
    """
    import torch

    if wave.ndim != 1 or len(wave) == 0:
        raise ValueError(f"wave must be (N,) with N > 0, not {wave.shape}")
    signal = np.asarray(wave, dtype=np.float32)
    emphasised = signal - _PRE_EMPHASIS * np.concatenate([np.zeros(1, np.float32), signal[:-1]])
    spectrum = torch.stft(
        torch.from_numpy(emphasised.astype(np.float32)),
        n_fft=_N_FFT,
        hop_length=_HOP,
        window=torch.hann_window(_N_FFT),
        center=True,
        pad_mode="constant",
        return_complex=True,
    ).abs()  # (401, T)
    mel = _filters().T @ spectrum
    decibels = 20 * torch.log10(mel.clamp_min(1e-5)) - _REFERENCE_DB
    scaled = 2 * _LARGEST * (decibels - _MIN_DB) / -_MIN_DB - _LARGEST
    return scaled.clamp(-_LARGEST, _LARGEST).numpy()


def window_length(num_frames: int, fps: float = 25) -> int:
    """Mel columns for `num_frames` video frames: 52 for 16 at 25 fps (ceil(16/5 · 16))."""
    # Rounded first: 3.2 · 5 must not become 17 columns through a last binary digit.
    return math.ceil(round(num_frames * MELS_PER_SECOND / fps, 6))


def mel_window(mel: np.ndarray, start_frame: int, num_frames: int = 16, fps: float = 25) -> np.ndarray:
    """The columns that belong to video frames [start_frame, start_frame + num_frames).

    mel: (80, T). Returns (80, 52) for 16 frames at 25 fps, from column int(80·start_frame/fps); where the sound has
    ended the rest is silence (−4). Raises ValueError for a negative start.
    """
    if start_frame < 0:
        raise ValueError(f"start_frame must be ≥ 0, not {start_frame}")
    first, length = int(MELS_PER_SECOND * start_frame / fps), window_length(num_frames, fps)
    window = mel[:, first : first + length]
    return np.pad(window, ((0, 0), (0, length - window.shape[1])), constant_values=SILENCE)
