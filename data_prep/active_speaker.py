"""Stage speaker: does this mouth move with the sound, and more than the other mouths to be seen?"""

from collections import deque

import numpy as np

from data_prep.manifest import Row
from latentsync.media.rates import SAMPLES_PER_FRAME

MAX_SHIFT = 15  # frames: sound that is off by so much still counts as the face's own
_KEPT = 2250  # frames
_SEEN_AT_LEAST = 10
_FROZEN = 0.004  # face heights: less is jitter of the landmarks


class Mouths:
    """The openings of all mouths of a shot, the last minute and a half of it."""

    def __init__(self) -> None:
        self._openings: dict[int, deque[tuple[int, float]]] = {}

    def remember(self, track: int, index: int, opening: float | None) -> None:
        """opening: in face heights, None where the face finder does not tell."""
        kept = self._openings.setdefault(track, deque(maxlen=_KEPT))
        kept.append((index, np.nan if opening is None else opening))

    def compared(self, track: int, first: int, stop: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """The openings of a track in frames first … stop − 1, and those of each other face seen then; NaN = unseen."""
        for name in [name for name, kept in self._openings.items() if kept[-1][0] < stop - _KEPT]:
            del self._openings[name]
        others = [name for name in sorted(self._openings) if name != track and self._count(name, first, stop)]
        return self._between(track, first, stop), [self._between(name, first, stop) for name in others]

    def num_others(self, track: int, first: int, stop: int) -> int:
        """Other faces that are seen for ten frames at least."""
        return sum(self._count(name, first, stop) >= _SEEN_AT_LEAST for name in self._openings if name != track)

    def _within(self, track: int, first: int, stop: int) -> list[tuple[int, float]]:
        return [entry for entry in self._openings[track] if first <= entry[0] < stop]

    def _count(self, track: int, first: int, stop: int) -> int:
        return len(self._within(track, first, stop))

    def _between(self, track: int, first: int, stop: int) -> np.ndarray:
        openings = np.full(stop - first, np.nan)
        for index, opening in self._within(track, first, stop):
            openings[index - first] = opening
        return openings


def loudness(wave: np.ndarray) -> np.ndarray:
    """dB of full scale of each video frame's sound, (F,); wave: (N,) float in [-1, 1] at 16 kHz."""
    frames = wave[: len(wave) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME].reshape(-1, SAMPLES_PER_FRAME)
    power = (frames.astype(np.float64) ** 2).mean(axis=1)
    return 10 * np.log10(power + 1e-10)  # digital silence is −100


def measure_speaker(openings: np.ndarray, others: list[np.ndarray], wave: np.ndarray) -> Row:
    """speaker_… of a candidate.

    openings: (F,) of the mouth, in face heights; NaN where unknown. others: the same of each other face, NaN in
    frames that do not show it. wave: the sound of these frames.
    Without a mesh (landmarks of three points) nothing is known of the mouth, and only the loudness is measured.
    """
    loud = loudness(wave)
    row: Row = {"speaker_loudness": round(float(np.quantile(loud, 0.95)), 1)}
    if np.isnan(openings).mean() > 0.5:
        return row
    # The ear judges loudness about so; and the deep silence of digital pauses must not outweigh the speech.
    envelope = np.maximum(loud, float(loud.max()) - 40)
    correlation = best_correlation(openings, envelope)
    motion = _motion(openings)
    row |= {"speaker_motion": round(motion, 5), "speaker_correlation": round(correlation, 4)}
    rivals = [_score(best_correlation(other, envelope), _motion(other)) for other in others if _seen(other)]
    if rivals:
        row["speaker_rival"] = round(max(rivals) - _score(correlation, motion), 4)
    return row


def best_correlation(opening: np.ndarray, envelope: np.ndarray) -> float:
    """Pearson's, at the shift of the sound within ±15 frames where it is greatest; 0 where one of them is constant."""
    best = 0.0
    for shift in range(-MAX_SHIFT, MAX_SHIFT + 1):
        mouth = opening[max(0, -shift) : len(opening) - max(0, shift)]
        sound = envelope[max(0, shift) : len(envelope) - max(0, -shift)]
        known = ~np.isnan(mouth)
        mouth, sound = mouth[known], sound[known]
        if len(mouth) > MAX_SHIFT and mouth.std() > 1e-6 and sound.std() > 1e-6:
            best = max(best, float(np.corrcoef(mouth, sound)[0, 1]))
    return best


def _motion(opening: np.ndarray) -> float:
    return float(np.nanstd(opening))


def _seen(opening: np.ndarray) -> bool:
    return bool((~np.isnan(opening)).mean() > 0.5)


def _score(correlation: float, motion: float) -> float:
    """A mouth that does not move does not talk, whatever its jitter correlates with."""
    return correlation if motion >= _FROZEN else 0.0
