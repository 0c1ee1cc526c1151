"""Leak: is the mouth open where nothing is said?"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.metrics.metric import Definition, FramePair, Heard, NotComputed
from eval.metrics.mouth_landmarks import mesh
from eval.mouth_tracks import mouth_size
from latentsync.errors import UserError
from latentsync.media.rates import FPS, SAMPLE_RATE


class SilenceLeak:
    """open_above: gap between the lips in face heights that counts as open; quiet_db: below the loudest frame, what
    counts as silent; at_least: seconds that a silence must last. Its first fifth of a second is left out: lips take
    time to close."""

    definitions: Sequence[Definition] = (
        Definition(
            "leak", "open in silence", "%", "lower",
            "share of frames with lips apart in stretches without sound (MediaPipe's inner lips)", "this project",
            "sound", decimals=1,
        ),
    )  # fmt: skip

    def __init__(self, open_above: float = 0.025, quiet_db: float = 40.0, at_least: float = 0.3) -> None:
        if min(open_above, quiet_db, at_least) <= 0:
            raise UserError("options.leak: give numbers above 0")
        self._settings = open_above, quiet_db, round(at_least * FPS)

    def begin(self) -> "_Leak":
        return _Leak(*self._settings)


class _Leak:
    def __init__(self, open_above: float, quiet_db: float, at_least: int) -> None:
        self._open_above, self._quiet_db, self._at_least = open_above, quiet_db, at_least
        self._gaps: dict[int, float] = {}

    def add(self, pair: FramePair) -> None:
        if pair.face is not None:
            self._gaps[pair.index] = mouth_size(mesh(pair.face))[0]

    def values(self, heard: Heard) -> dict[str, Any]:
        if heard.wave is None:
            raise NotComputed("no sound")
        silent = [index for index in silent_frames(heard.wave, self._quiet_db, self._at_least) if index in self._gaps]
        if not silent:
            raise NotComputed("no silence in the sound")
        return {"leak": 100 * float(np.mean([self._gaps[index] > self._open_above for index in silent]))}


def silent_frames(wave: np.ndarray, quiet_db: float, at_least: int) -> list[int]:
    """Numbers of the frames, 25 a second, in silences of `at_least` frames, without the first fifth of a second each.

    wave: (N,) float, 16 kHz. A sound that is silent altogether is one silence.
    """
    samples = SAMPLE_RATE // FPS
    frames = wave[: len(wave) // samples * samples].reshape(-1, samples)
    loudness = np.sqrt((frames.astype(np.float64) ** 2).mean(axis=1)) if len(frames) else np.zeros(0)
    quiet = loudness <= max(1e-4, loudness.max(initial=0) * 10 ** (-quiet_db / 20))
    found: list[int] = []
    start: int | None = None
    for index, silent in enumerate([*quiet, False]):
        if silent and start is None:
            start = index
        if not silent and start is not None:
            if index - start >= at_least:
                found += range(start + FPS // 5, index)
            start = None
    return found
