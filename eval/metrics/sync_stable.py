"""Confidence and accuracy of our StableSyncNet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.av_offset import Score
from data_prep.stable_syncnet_scorer import StableSyncNetScorer
from eval.metrics.metric import Definition, FramePair
from eval.metrics.pieces import PieceScores, typical_offset, weighted

_SOURCE = "LatentSync's StableSyncNet, windows of 16 frames"


class SyncStable:
    """weights: folder or file of a StableSyncNet of pixels. Raises UserError when it is missing.

    A network that was in the training loss flatters the model: quote SyncNet v2 beside it.
    """

    definitions: Sequence[Definition] = (
        Definition(
            "sync_confidence", "SyncNet confidence", "", "higher",
            "greatest − median of the mean cosine over ±15 frames, 0 … 1", _SOURCE, "sound",
        ),
        Definition(
            "sync_accuracy", "SyncNet accuracy", "%", "higher",
            "share of windows that fit their own sound best, to a frame, of all within ±15 (chance: 10 %)",
            _SOURCE, "sound", 1,
        ),
        Definition("sync_offset", "SyncNet offset", "frames", "none", "positive: sound early", _SOURCE, "sound", 1),
    )  # fmt: skip

    def __init__(self, weights: str | Path = "checkpoints/stable-syncnet", device: str = "cpu") -> None:
        self._scorer = StableSyncNetScorer(weights, device)

    def begin(self) -> PieceScores:
        return PieceScores(_crop, self._scorer.embed, self._scorer.score_embedded, _summary)


def _crop(pair: FramePair) -> np.ndarray | None:
    return pair.crop


def _summary(scores: list[tuple[int, Score]]) -> dict[str, float]:
    return {
        "sync_confidence": weighted(scores, lambda score: score.confidence),
        "sync_accuracy": 100 * weighted(scores, lambda score: score.accuracy),
        "sync_offset": typical_offset(scores),
    }
