"""Articulation tracks: what a synthetic speaker's mouth does over time.

A track is a random sequence of syllables (consonant + vowel) and pauses. Each phone has a target posture of the mouth;
neighbouring postures run into each other (co-articulation by Gaussian smoothing), at `CONTROL_RATE` samples a second.
The picture samples the track at the middle of each frame's interval, the voice at the audio rate: lips and sound share
one truth.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.ndimage import gaussian_filter1d

from latentsync.media.rates import FPS

CONTROL_RATE = 400
"""Samples a second of the track itself; 16 to a video frame."""
_CLOSED = 0.03
"""Openings below this count as shut lips."""


@dataclass(frozen=True)
class Phone:
    """Target posture and sound of one phone: opening, rounding and noise in [0, 1], width in [-1, 1]."""

    opening: float
    width: float
    rounding: float
    voice: float
    noise: float = 0.0


VOWELS: dict[str, Phone] = {
    "a": Phone(1.00, 0.05, 0.00, 1.0),
    "e": Phone(0.58, 0.55, 0.00, 1.0),
    "i": Phone(0.32, 1.00, 0.00, 1.0),
    "o": Phone(0.66, -0.35, 0.70, 1.0),
    "u": Phone(0.30, -0.75, 1.00, 1.0),
    "@": Phone(0.45, 0.00, 0.10, 1.0),
}
CONSONANTS: dict[str, Phone] = {
    "m": Phone(0.0, 0.0, 0.10, 0.0),  # the bilabials (m, p, b) are one posture: shut, and silent until the release
    "d": Phone(0.20, 0.15, 0.00, 0.5),
    "l": Phone(0.28, 0.10, 0.05, 0.9),
    "s": Phone(0.14, 0.45, 0.00, 0.0, 1.0),
    "w": Phone(0.14, -0.80, 1.00, 0.8),
}
_CONSONANT_SHARES = (0.34, 0.18, 0.18, 0.17, 0.13)
_REST = Phone(0.0, 0.0, 0.0, 0.0)
_OPENING_SMOOTHING, _WIDTH_SMOOTHING, _SOUND_SMOOTHING = 0.024, 0.045, 0.010
"""Seconds (sigma); lips close faster than they spread."""


@dataclass(frozen=True)
class Track:
    """Samples of a moving mouth, arrays (N,).

    opening: [0, 1], 0 = lips shut, 1 = an open "a"; width: [-1, 1], -1 = pursed, 1 = spread; rounding: [0, 1];
    closure: bool, the lips are shut; voice: [0, 1] strength of voicing; noise: [0, 1] strength of frication;
    pause: bool.
    """

    opening: np.ndarray
    width: np.ndarray
    rounding: np.ndarray
    closure: np.ndarray
    voice: np.ndarray
    noise: np.ndarray
    pause: np.ndarray

    def __getitem__(self, part: slice) -> Track:
        """Some of the samples."""
        return Track(**{field.name: getattr(self, field.name)[part] for field in fields(Track)})


@dataclass(frozen=True)
class Articulation(Track):
    """A mouth over time: one sample a video frame (25 fps, at the middle of the 40 ms for which the frame is shown),
    and `curves`, the track behind them at `CONTROL_RATE` samples a second, for the sound."""

    curves: Track

    @property
    def num_frames(self) -> int:
        """Video frames."""
        return len(self.opening)

    @property
    def seconds(self) -> float:
        """Length of the track."""
        return self.num_frames / FPS

    def at(self, times: np.ndarray) -> Track:
        """The curves at `times` (N,) in seconds, linearly interpolated; times outside the track take its ends."""
        return _sample(self.curves, times)

    @classmethod
    def from_curves(cls, curves: Track) -> Articulation:
        """Frames out of curves at `CONTROL_RATE`; a part of a frame at the end is left out."""
        num_frames = len(curves.opening) * FPS // CONTROL_RATE
        frames = _sample(curves, (np.arange(num_frames) + 0.5) / FPS)
        return cls(**vars(frames), curves=curves)


def _sample(curves: Track, times: np.ndarray) -> Track:
    grid = np.arange(len(curves.opening)) / CONTROL_RATE
    nearest = np.clip(np.rint(times * CONTROL_RATE).astype(int), 0, len(grid) - 1)
    opening = np.interp(times, grid, curves.opening)
    return Track(
        opening=opening,
        width=np.interp(times, grid, curves.width),
        rounding=np.interp(times, grid, curves.rounding),
        closure=opening < _CLOSED,
        voice=np.interp(times, grid, curves.voice),
        noise=np.interp(times, grid, curves.noise),
        pause=curves.pause[nearest],
    )


def draw_articulation(num_frames: int, rng: np.random.Generator) -> Articulation:
    """A random articulation of `num_frames` frames at 25 fps: 3 to 5 syllables a second, pauses of 0.2 to 0.8 s."""
    if num_frames < 1:
        raise ValueError(f"an articulation needs at least one frame, got {num_frames}")
    phones, seconds, pauses = _draw_phones(num_frames / FPS, rng)
    samples = num_frames * CONTROL_RATE // FPS
    bounds = np.concatenate([[0.0], np.cumsum(seconds)])
    index = np.clip(np.searchsorted(bounds, np.arange(samples) / CONTROL_RATE, side="right") - 1, 0, len(phones) - 1)

    def held(name: str) -> np.ndarray:
        return np.array([getattr(phone, name) for phone in phones], dtype=np.float64)[index]

    def smooth(values: np.ndarray, sigma: float) -> np.ndarray:
        return gaussian_filter1d(values, sigma * CONTROL_RATE, mode="nearest")

    opening = smooth(held("opening"), _OPENING_SMOOTHING)
    # Smoothing leaves a short closure a few per cent open; shut lips are shut.
    opening = np.clip((opening - 0.06) / 0.94, 0.0, 1.0)
    curves = Track(
        opening=opening,
        width=np.clip(smooth(held("width"), _WIDTH_SMOOTHING), -1, 1),
        rounding=np.clip(smooth(held("rounding"), _WIDTH_SMOOTHING), 0, 1),
        closure=opening < _CLOSED,
        voice=smooth(held("voice"), _SOUND_SMOOTHING),
        noise=smooth(held("noise"), _SOUND_SMOOTHING),
        pause=np.array(pauses)[index],
    )
    return Articulation.from_curves(curves)


def _draw_phones(seconds: float, rng: np.random.Generator) -> tuple[list[Phone], list[float], list[bool]]:
    """Phones, how long each is held, and whether it is a pause; together at least `seconds`."""
    phones: list[Phone] = []
    lengths: list[float] = []
    pauses: list[bool] = []

    def add(phone: Phone, length: float, pause: bool = False) -> None:
        phones.append(phone)
        lengths.append(length)
        pauses.append(pause)

    vowel_names, consonant_names = list(VOWELS), list(CONSONANTS)
    # Start anywhere inside a pause or a phrase, so that clips do not all open with the same gesture.
    syllables_left = int(rng.integers(0, 6))
    while sum(lengths) < seconds:
        if syllables_left == 0:
            add(_REST, rng.uniform(0.2, 0.8), pause=True)
            syllables_left = int(rng.integers(3, 10))
            continue
        length = 1.0 / rng.uniform(3.0, 5.0)
        onset = rng.uniform(0.08, 0.11)
        if rng.random() < 0.85:
            add(CONSONANTS[consonant_names[rng.choice(len(consonant_names), p=_CONSONANT_SHARES)]], onset)
        vowel = VOWELS[vowel_names[rng.integers(len(vowel_names))]]
        effort = rng.uniform(0.72, 1.05)
        opening = min(1.0, vowel.opening * effort)
        add(Phone(opening, vowel.width * rng.uniform(0.8, 1.0), vowel.rounding, vowel.voice), length - onset)
        syllables_left -= 1
    return phones, lengths, pauses
