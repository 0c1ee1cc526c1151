"""Sync scores of long videos: in pieces of bounded length, so that memory is bounded too."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from eval.metrics.metric import FramePair, Heard, NotComputed
from latentsync.errors import UserError
from latentsync.media.rates import FPS, SAMPLE_RATE

PIECE = 10 * FPS
SHORTEST = 40  # frames: 15 for the shifts and a window or two


class Scored(Protocol):
    @property
    def offset(self) -> int: ...

    @property
    def confidence(self) -> float: ...


class PieceScores:
    """A measurement that scores runs of consecutive frames, up to 10 s each, and averages by their length.

    picture: FramePair -> (S, S, 3) uint8 or None. embed: frames (F, S, S, 3) -> what `score` takes in their place,
    since the sound is known only at the end. score: (embedded, wave) -> score. summary: of (frames, score) pairs.
    """

    def __init__(
        self,
        picture: Callable[[FramePair], np.ndarray | None],
        embed: Callable[[np.ndarray], Any],
        score: Callable[[Any, np.ndarray], Any],
        summary: Callable[[list[tuple[int, Any]]], dict[str, float]],
    ) -> None:
        self._picture, self._embed, self._score, self._summary = picture, embed, score, summary
        self._first = self._next = 0
        self._frames: list[np.ndarray] = []
        self._pieces: list[tuple[int, int, Any]] = []

    def add(self, pair: FramePair) -> None:
        picture = self._picture(pair)
        if picture is None:
            return
        if self._frames and (pair.index != self._next or len(self._frames) == PIECE):
            self._end()
        if not self._frames:
            self._first = pair.index
        self._frames.append(picture)
        self._next = pair.index + 1

    def values(self, heard: Heard) -> dict[str, float]:
        self._end()
        if heard.wave is None:
            raise NotComputed("no sound")
        samples = SAMPLE_RATE // FPS
        scores = []
        for first, count, embedded in self._pieces:
            wave = heard.wave[first * samples : (first + count) * samples]
            try:
                scores.append((count, self._score(embedded, wave)))
            except UserError:  # the sound ends before it
                continue
        if not scores:
            raise NotComputed(f"no stretch of {SHORTEST / FPS:g} s with face and sound")
        return self._summary(scores)

    def _end(self) -> None:
        if len(self._frames) >= SHORTEST:
            self._pieces.append((self._first, len(self._frames), self._embed(np.stack(self._frames))))
        self._frames = []


def weighted(scores: list[tuple[int, Any]], value: Callable[[Any], float]) -> float:
    """Mean over frames."""
    return float(np.average([value(score) for _, score in scores], weights=[count for count, _ in scores]))


def typical_offset(scores: list[tuple[int, Any]]) -> float:
    """The median over frames of the pieces' offsets."""
    return float(np.median(np.repeat([score.offset for _, score in scores], [count for count, _ in scores])))
