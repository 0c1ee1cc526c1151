"""Synthetic speech by a source-filter model: a buzzing glottis and noise through formants that follow the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from latentsync.synthetic.articulation import Articulation

_WINDOW = 512
_HOP = 128
_FFT = 1024
_BURST_SECONDS = 0.012
_VOICE_LEVEL = 0.06


@dataclass(frozen=True)
class Voice:
    """A speaker's voice. pitch: mean f0 in Hz; tract_scale: formants are multiplied by it (short tract > 1);
    breath: [0, 1] noise mixed into the voice; tilt: spectral slope in dB an octave; intonation: depth of the f0
    contour; floor: amplitude of the room's noise."""

    pitch: float
    tract_scale: float
    breath: float
    tilt: float
    intonation: float
    floor: float


def draw_voice(rng: np.random.Generator) -> Voice:
    """A random speaker: f0 85 to 240 Hz, formants -10 to +18 % (higher voices have shorter tracts)."""
    height = rng.uniform(0, 1)
    return Voice(
        pitch=float(85 * (240 / 85) ** height),
        tract_scale=float(0.90 + 0.24 * height + rng.uniform(0.0, 0.04)),
        breath=float(rng.uniform(0.02, 0.12)),
        tilt=float(rng.uniform(-7.0, -4.0)),
        intonation=float(rng.uniform(0.05, 0.16)),
        floor=float(rng.uniform(1e-4, 3e-4)),
    )


def synthesise_voice(
    articulation: Articulation, voice: Voice, rng: np.random.Generator, sample_rate: int = 16000
) -> np.ndarray:
    """The sound of `articulation` in the given voice: float32 (N,) in [-1, 1], N = its seconds · sample_rate.

    F1 rises with the opening, F2 with spread and falls with rounding, loudness follows the opening; pauses and closures
    are silent but for the room's noise floor, and a closure is released with a short burst.
    """
    num_samples = round(articulation.seconds * sample_rate)
    times = np.arange(num_samples) / sample_rate
    track = articulation.at(times)
    phase, beat = _phase(voice, times, rng, sample_rate)
    noise = rng.standard_normal(num_samples)
    loudness = track.voice * np.clip(track.opening / 0.06, 0, 1) * (0.18 + 0.82 * track.opening)
    loudness[track.pause | track.closure] = 0.0
    loudness = gaussian_filter1d(loudness, 0.003 * sample_rate)
    source = loudness * ((1 - voice.breath) * _glottal_pulse(phase) * beat + voice.breath * noise)
    blocks = _block_times(num_samples, sample_rate)
    shape = articulation.at(blocks)
    voiced = _filter(source, _formant_gain(shape.opening, shape.width, shape.rounding, voice, sample_rate))
    hiss = track.noise * (~track.pause) * 0.10 * noise + _bursts(track.closure, track.pause, noise, sample_rate)
    hissed = _filter(hiss, _hiss_gain(len(blocks), voice, sample_rate))
    wave = _VOICE_LEVEL * voiced + 0.6 * hissed + voice.floor * rng.standard_normal(num_samples)
    return np.clip(np.tanh(wave), -1, 1).astype(np.float32)


def _phase(voice: Voice, times: np.ndarray, rng: np.random.Generator, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Glottal phase in cycles (N,) of a slowly wandering f0, and a slow shimmer of the amplitude (N,)."""
    phases = rng.uniform(0, 2 * np.pi, 4)
    contour = np.sin(2 * np.pi * 0.35 * times + phases[0]) + 0.6 * np.sin(2 * np.pi * 0.9 * times + phases[1])
    contour = contour + 0.15 * np.sin(2 * np.pi * 4.7 * times + phases[2])
    pitch = voice.pitch * np.exp(voice.intonation * contour)
    return np.cumsum(pitch) / rate, 1 + 0.06 * np.sin(2 * np.pi * 3.1 * times + phases[3])


def _glottal_pulse(phase: np.ndarray) -> np.ndarray:
    """Derivative of a Rosenberg glottal pulse at `phase` cycles: opens over 40 %, snaps shut over 16 %, stays shut."""
    cycle = phase % 1.0
    rising = np.where(cycle < 0.4, np.sin(np.pi * cycle / 0.4), 0.0)
    falling = np.where((cycle >= 0.4) & (cycle < 0.56), -np.sin(np.pi / 2 * (cycle - 0.4) / 0.16) * 2.5, 0.0)
    return rising + falling


def _block_times(num_samples: int, rate: int) -> np.ndarray:
    """Middles, in seconds, of the overlapping blocks that `_filter` cuts `num_samples` into."""
    blocks = -(-(num_samples + _WINDOW) // _HOP)
    return (np.arange(blocks) * _HOP - _WINDOW / 2) / rate


def _formant_gain(opening: np.ndarray, width: np.ndarray, rounding: np.ndarray, voice: Voice, rate: int) -> np.ndarray:
    """Magnitude response (blocks, bins) of four resonances placed by the mouth."""
    spread = np.clip(width, 0, 1)
    formants = np.stack(
        [
            280 + 500 * opening,
            1350 + 850 * spread - 620 * rounding,
            2500 + 350 * spread - 250 * rounding,
            3600 + 0 * opening,
        ],
        axis=-1,
    )  # (blocks, 4) Hz
    formants = formants * voice.tract_scale
    bandwidths = np.array([70.0, 90.0, 130.0, 200.0])
    bins = np.fft.rfftfreq(_FFT, 1 / rate)
    gain = np.ones((len(opening), len(bins)))
    for index in range(formants.shape[1]):
        centre = formants[:, index : index + 1]
        gain *= centre**2 / np.sqrt((centre**2 - bins**2) ** 2 + (bandwidths[index] * bins) ** 2)
    # Four resonances alone fall too fast above the last; the constant stands for the higher ones.
    gain = np.minimum(gain + 0.02, 30.0)
    octaves = np.log2(np.maximum(bins, 100.0) / 100.0)
    return gain * 10 ** ((voice.tilt + 6.0) * octaves / 20)


def _hiss_gain(blocks: int, voice: Voice, rate: int) -> np.ndarray:
    """Magnitude response (blocks, bins) of frication: a broad hump near 5 kHz."""
    bins = np.fft.rfftfreq(_FFT, 1 / rate)
    hump = np.exp(-(((bins - 5000 * voice.tract_scale) / 1500) ** 2))
    return np.broadcast_to(hump, (blocks, len(bins)))


def _bursts(closure: np.ndarray, pause: np.ndarray, noise: np.ndarray, rate: int) -> np.ndarray:
    """Noise (N,) for 12 ms after each release of shut lips inside a phrase."""
    releases = np.flatnonzero(closure[:-1] & ~closure[1:] & ~pause[1:])
    envelope = np.zeros(len(closure))
    length = int(_BURST_SECONDS * rate)
    decay = np.exp(-np.arange(length) / (0.3 * length))
    for start in releases:
        part = envelope[start + 1 : start + 1 + length]
        part[:] = decay[: len(part)]
    return 0.12 * envelope * noise


def _filter(source: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Time-varying zero-phase filter by windowed overlap-add: `source` (N,), `gain` (blocks, bins), returns (N,)."""
    window = np.sqrt(np.hanning(_WINDOW + 1)[:-1])
    padded = np.zeros(len(gain) * _HOP + _WINDOW)
    padded[_WINDOW : _WINDOW + len(source)] = source
    starts = np.arange(len(gain)) * _HOP
    blocks = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[starts] * window
    # Blocks sit in the middle of the transform, so that the filter's ringing has room on both sides.
    margin = (_FFT - _WINDOW) // 2
    spectra = np.fft.rfft(np.pad(blocks, ((0, 0), (margin, margin))), axis=1) * gain
    shaped = np.fft.irfft(spectra, _FFT, axis=1)[:, margin : margin + _WINDOW] * window
    result = np.zeros_like(padded)
    for part in range(_WINDOW // _HOP):
        pieces = shaped[:, part * _HOP : (part + 1) * _HOP].reshape(-1)
        result[part * _HOP : part * _HOP + len(pieces)] += pieces
    return result[_WINDOW : _WINDOW + len(source)] / (_WINDOW / _HOP / 2)
