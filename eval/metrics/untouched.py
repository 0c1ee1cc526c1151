"""What lip sync must leave alone: the picture around the generated region, against the same pixels of the source."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from eval.metrics.metric import Definition, FramePair, Heard, NotComputed
from latentsync.face.alignment import canvas_size
from latentsync.face.mouth_mask import mouth_mask

_EQUAL = 100.0  # dB


class Untouched:
    """Needs the source video, best of all encoded once as the output was, so that the encoder's loss does not count."""

    definitions: Sequence[Definition] = (
        Definition(
            "psnr_outside_blend", "PSNR outside blend", "dB", "higher",
            "of the frames' pixels that pasting the face back cannot touch; equal ones: 100 dB", "this project",
            "source", decimals=1,
        ),
        Definition(
            "psnr_outside_mouth", "PSNR outside mouth", "dB", "higher",
            "of all pixels that show nothing generated; where the face was pasted they were resampled once",
            "this project", "source", decimals=1,
        ),
    )  # fmt: skip

    def begin(self) -> "_Untouched":
        return _Untouched()


class _Untouched:
    def __init__(self) -> None:
        self._errors, self._counts = np.zeros(2), np.zeros(2)

    def add(self, pair: FramePair) -> None:
        if pair.reference_image is None or pair.matrix is None:
            raise NotComputed("no reference video")
        side = pair.crop.shape[0]
        error = np.square(pair.image.astype(np.float64) - pair.reference_image)
        for place, outside in enumerate((outside_blend, outside_mouth)):
            where = outside(pair.image.shape, pair.matrix, side)
            self._errors[place] += error[where].sum()
            self._counts[place] += 3 * where.sum()

    def values(self, heard: Heard) -> dict[str, Any]:
        names = [definition.name for definition in Untouched.definitions]
        known = zip(names, self._errors, self._counts)
        return {name: decibels(error / count) for name, error, count in known if count}


def decibels(error: float) -> float:
    """PSNR of a mean squared error in grey levels."""
    return _EQUAL if error == 0 else min(_EQUAL, float(10 * np.log10(255**2 / error)))


def outside_blend(shape: tuple[int, ...], matrix: np.ndarray, resolution: int) -> np.ndarray:
    """Pixels (H, W) bool of a frame of `shape` that pasting a face back cannot touch.

    matrix: (2, 3), image to canvas. One pixel of margin all round, for the interpolation.
    """
    width, height = canvas_size(resolution)
    return _reached(np.ones((height, width), np.float32), matrix, shape) == 0


def outside_mouth(shape: tuple[int, ...], matrix: np.ndarray, resolution: int) -> np.ndarray:
    """Pixels (H, W) bool of a frame of `shape` that show nothing generated: outside the mouth mask of the face."""
    generated = 1 - mouth_mask(resolution)[0].numpy()
    return _reached(cv2.resize(generated, canvas_size(resolution)), matrix, shape) == 0


def _reached(canvas: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A canvas (h, w) float32 laid into a frame, grown by one pixel."""
    back = cv2.invertAffineTransform(np.asarray(matrix, dtype=np.float64))
    laid = cv2.warpAffine(canvas, back, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
    return cv2.dilate(laid, np.ones((3, 3), np.uint8))
