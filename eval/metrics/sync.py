"""Sync scores: of SyncNet v2, which lip-sync papers report, and of our StableSyncNet."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_prep.av_offset import Score
from data_prep.stable_syncnet_scorer import StableSyncNetScorer
from eval.metrics.metric import Definition, FramePair, Heard, NotComputed
from eval.syncnet_v2 import CROP, SyncNetV2Scorer, SyncScore
from latentsync.errors import UserError
from latentsync.face.head_box import SteadyBoxes, head_box, syncnet_crop
from latentsync.media.rates import FPS, SAMPLE_RATE
from latentsync.weights.syncnet import WrongVersion

PIECE = 10 * FPS
SHORTEST = 40  # frames: 15 for the shifts and a window or two
_V2 = "Chung and Zisserman 2016, syncnet_v2.model"
_STABLE = "LatentSync's StableSyncNet, windows of 16 frames"


class SyncV2:
    """Sync-C, Sync-D. weights: `syncnet_v2.model`, None = where `fetch` puts it. Raises UserError when it is missing.

    The crops are those of the published pipeline: around a detector's box whose centre and size are medians over 13
    frames, see `latentsync.face.head_box`.
    """

    definitions: Sequence[Definition] = (
        Definition("sync_c", "Sync-C", "", "higher", "median − least distance over ±15 frames", _V2, "sound", 2),
        Definition("sync_d", "Sync-D", "", "lower", "least distance over ±15 frames", _V2, "sound", 2),
        Definition(
            "offset", "offset", "frames", "none", "at the least distance; positive: sound early", _V2, "sound", 1
        ),
    )

    def __init__(self, weights: str | Path | None = None, device: str = "cpu") -> None:
        self._scorer = SyncNetV2Scorer(weights, device)

    def begin(self) -> "HeadPieces":
        return HeadPieces(self._scorer.embed, self._scorer.score_embedded, _v2_summary)


class SyncStable:
    """weights: folder, file or name of a StableSyncNet of pixels; version: "1.0" takes LatentSync 1.0's.

    Raises UserError when it is missing, or of another version.

    A network that was in the training loss flatters the model: quote SyncNet v2 beside it.
    """

    definitions: Sequence[Definition] = (
        Definition(
            "sync_confidence", "SyncNet confidence", "", "higher",
            "greatest − median of the mean cosine over ±15 frames, 0 … 1", _STABLE, "sound",
        ),
        Definition(
            "sync_accuracy", "SyncNet accuracy", "%", "higher",
            "share of windows that fit their own sound best, to a frame, of all within ±15 (chance: 10 %)",
            _STABLE, "sound", 1,
        ),
        Definition("sync_offset", "SyncNet offset", "frames", "none", "positive: sound early", _STABLE, "sound", 1),
    )  # fmt: skip

    def __init__(
        self, weights: str | Path = "checkpoints/stable-syncnet", device: str = "cpu", version: str | float = "1.5"
    ) -> None:
        try:
            self._scorer = StableSyncNetScorer(weights, device, version=version)
        except WrongVersion as error:  # not a metric that is left out, but a mistake
            raise UserError(f"options.sync_stable: {error}") from error

    def begin(self) -> "Pieces":
        return Pieces(self._scorer.embed, self._scorer.score_embedded, _stable_summary)


class Scored(Protocol):
    """What a scorer says of one run of frames: offset in frames, and a confidence on the scorer's own scale."""

    @property
    def offset(self) -> int: ...

    @property
    def confidence(self) -> float: ...


class Pieces:
    """A measurement that scores runs of consecutive frames, up to 10 s each, and averages by their length.

    embed: frames (F, S, S, 3) -> what `score` takes in their place, since the sound is known only at the end. score:
    (embedded, wave) -> score. summary: of (frames, score) pairs. It sees the aligned crops.
    """

    def __init__(
        self,
        embed: Callable[[np.ndarray], Any],
        score: Callable[[Any, np.ndarray], Any],
        summary: Callable[[list[tuple[int, Any]]], dict[str, float]],
    ) -> None:
        self._embed, self._score, self._summary = embed, score, summary
        self._first = self._next = 0
        self._frames: list[np.ndarray] = []
        self._pieces: list[tuple[int, int, Any]] = []

    def add(self, pair: FramePair) -> None:
        self._put(pair.index, pair.crop)

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

    def _put(self, index: int, picture: np.ndarray) -> None:
        if self._frames and (index != self._next or len(self._frames) == PIECE):
            self._end()
        if not self._frames:
            self._first = index
        self._frames.append(picture)
        self._next = index + 1

    def _end(self) -> None:
        if len(self._frames) >= SHORTEST:
            self._pieces.append((self._first, len(self._frames), self._embed(np.stack(self._frames))))
        self._frames = []


class HeadPieces(Pieces):
    """`Pieces` that sees heads as SyncNet v2 wants them."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._boxes: SteadyBoxes[tuple[int, np.ndarray]] = SteadyBoxes()
        self._last = -1

    def add(self, pair: FramePair) -> None:
        if pair.face is None:
            return
        if pair.index != self._last + 1:
            self._cut(self._boxes.end())
        self._last = pair.index
        self._cut(self._boxes.push((pair.index, pair.image), head_box(pair.face)))

    def values(self, heard: Heard) -> dict[str, float]:
        self._cut(self._boxes.end())
        return super().values(heard)

    def _cut(self, decided: list[tuple[tuple[int, np.ndarray], np.ndarray]]) -> None:
        for (index, image), box in decided:
            self._put(index, syncnet_crop(image, box, CROP))


def _mean(scores: list[tuple[int, Any]], value: Callable[[Any], float]) -> float:
    """Over frames."""
    return float(np.average([value(score) for _, score in scores], weights=[count for count, _ in scores]))


def _typical_offset(scores: Sequence[tuple[int, Scored]]) -> float:
    """The median over frames of the pieces' offsets."""
    return float(np.median(np.repeat([score.offset for _, score in scores], [count for count, _ in scores])))


def _v2_summary(scores: list[tuple[int, SyncScore]]) -> dict[str, float]:
    return {
        "sync_c": _mean(scores, lambda score: score.confidence),
        "sync_d": _mean(scores, lambda score: score.min_distance),
        "offset": _typical_offset(scores),
    }


def _stable_summary(scores: list[tuple[int, Score]]) -> dict[str, float]:
    return {
        "sync_confidence": _mean(scores, lambda score: score.confidence),
        "sync_accuracy": 100 * _mean(scores, lambda score: score.accuracy),
        "sync_offset": _typical_offset(scores),
    }
