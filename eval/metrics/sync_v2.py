"""Sync-C, Sync-D and offset: the SyncNet v2 protocol that lip-sync papers report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.align import box_crop
from eval.metrics.metric import Definition, FramePair
from eval.metrics.pieces import PieceScores, typical_offset, weighted
from eval.syncnet_v2 import CROP, SyncNetV2Scorer, SyncScore

_SOURCE = "Chung and Zisserman 2016, syncnet_v2.model"


class SyncV2:
    """weights: `syncnet_v2.model`, None = where `fetch` puts it. Raises UserError when it is missing."""

    definitions: Sequence[Definition] = (
        Definition("sync_c", "Sync-C", "", "higher", "median − least distance over ±15 frames", _SOURCE, "sound", 2),
        Definition("sync_d", "Sync-D", "", "lower", "least distance over ±15 frames", _SOURCE, "sound", 2),
        Definition(
            "offset", "offset", "frames", "none", "at the least distance; positive: sound early", _SOURCE, "sound", 1
        ),
    )

    def __init__(self, weights: str | Path | None = None, device: str = "cpu") -> None:
        self._scorer = SyncNetV2Scorer(weights, device)

    def begin(self) -> PieceScores:
        return PieceScores(_face, self._scorer.embed, self._scorer.score_embedded, _summary)


def _face(pair: FramePair) -> np.ndarray | None:
    return None if pair.face is None else box_crop(pair.image, pair.face, CROP)


def _summary(scores: list[tuple[int, SyncScore]]) -> dict[str, float]:
    return {
        "sync_c": weighted(scores, lambda score: score.confidence),
        "sync_d": weighted(scores, lambda score: score.min_distance),
        "offset": typical_offset(scores),
    }
