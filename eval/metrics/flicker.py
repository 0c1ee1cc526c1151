"""Temporal consistency: what changes from frame to frame beyond what moves."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from eval.metrics.metric import Definition, FramePair, Heard, NotComputed
from latentsync.face.mouth_mask import mouth_mask


class WarpedFlicker:
    """Mean grey-level change left after the next frame is warped back by its optical flow (Farnebäck, on the aligned
    face), inside the mouth mask and outside of it."""

    definitions: Sequence[Definition] = (
        Definition(
            "flicker_mouth", "flicker, mouth", "grey levels", "lower",
            "|frame − next frame warped back by optical flow|, mean in the mouth mask",
            "warping error, Lai et al. 2018; flow by OpenCV's Farnebäck", decimals=2,
        ),
        Definition(
            "flicker_outside", "flicker, outside", "grey levels", "lower", "the same outside of the mouth mask",
            "warping error, Lai et al. 2018; flow by OpenCV's Farnebäck", decimals=2,
        ),
    )  # fmt: skip

    def begin(self) -> "_Flicker":
        return _Flicker()


class _Flicker:
    def __init__(self) -> None:
        self._last: tuple[int, np.ndarray] | None = None
        self._sums, self._count = np.zeros(2), 0

    def add(self, pair: FramePair) -> None:
        grey = cv2.cvtColor(pair.crop, cv2.COLOR_RGB2GRAY)
        if self._last is not None and self._last[0] == pair.index - 1:
            left = warped_difference(self._last[1], grey)
            inside = mouth_mask(grey.shape[0])[0].numpy() == 0
            self._sums += [left[inside].mean(), left[~inside].mean()]
            self._count += 1
        self._last = pair.index, grey

    def values(self, heard: Heard) -> dict[str, Any]:
        if self._count == 0:
            raise NotComputed("no two frames in a row with a face")
        mouth, outside = self._sums / self._count
        return {"flicker_mouth": float(mouth), "flicker_outside": float(outside)}


def warped_difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """|first − second warped back to it|, (H, W) float32, of grey images (H, W) uint8."""
    flow = cv2.calcOpticalFlowFarneback(
        first, second, np.zeros((*first.shape, 2), np.float32), 0.5, 3, 15, 3, 5, 1.2, 0
    )
    rows, columns = np.indices(first.shape, dtype=np.float32)
    back = cv2.remap(
        second, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.abs(first.astype(np.float32) - back)
