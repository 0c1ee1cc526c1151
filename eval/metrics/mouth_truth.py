"""On synthetic heads: the opening of the mouth in the pixels against the opening that belongs to the speech."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.metrics.correlation import correlation
from eval.metrics.metric import Definition, FramePair, Heard, NotComputed
from latentsync.synthetic.mouth import measure_mouth_opening

OPEN = 0.1
"""A mouth measured wider open than this in a pause of the speech leaks."""


class MouthTruth:
    """Needs the truth of the driving speech beside the video; see `definitions`."""

    definitions: Sequence[Definition] = (
        Definition("mouth_r", "mouth r", "", "higher", "r of measured and true opening", "this project", "sound"),
        Definition(
            "own_mouth_r", "own mouth r", "", "lower", "r of the opening with the source video's true one",
            "this project", "sound",
        ),
        Definition(
            "mouth_error", "mouth error", "of full opening", "lower", "mean |measured − true opening|", "this project",
            "sound",
        ),
        Definition(
            "mouth_leak", "open in pauses", "%", "lower", f"share of the pauses' frames with an opening above {OPEN}",
            "this project", "sound", decimals=1,
        ),
    )  # fmt: skip

    def begin(self) -> "_MouthTruth":
        return _MouthTruth()


class _MouthTruth:
    def __init__(self) -> None:
        self._indices: list[int] = []
        self._mouths: list[np.ndarray] = []

    def add(self, pair: FramePair) -> None:
        self._indices.append(pair.index)
        self._mouths.append(measure_mouth_opening(pair.crop[None]))

    def values(self, heard: Heard) -> dict[str, Any]:
        if heard.opening is None:
            raise NotComputed("no truth beside the video: synthetic heads only")
        known = [place for place, index in enumerate(self._indices) if index < len(heard.opening)]
        if len(known) < 2:
            raise NotComputed("no frame with a face")
        indices = np.array(self._indices)[known]
        measured, true = np.concatenate(self._mouths)[known], heard.opening[indices]
        found = {"mouth_r": correlation(measured, true), "mouth_error": float(np.abs(measured - true).mean())}
        if heard.own_opening is not None and indices[-1] < len(heard.own_opening):
            found["own_mouth_r"] = correlation(measured, heard.own_opening[indices])
        if heard.pause is not None and heard.pause[indices].any():
            found["mouth_leak"] = 100 * float((measured[heard.pause[indices]] > OPEN).mean())
        return found
