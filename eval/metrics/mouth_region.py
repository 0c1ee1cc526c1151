"""The generated region beside the same pixels of the source: error, sharpness, the seam, unrest."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from eval.metrics.metric import Definition, FramePair, Heard, NotComputed, reference_crop
from eval.metrics.untouched import decibels
from latentsync.face.mouth_mask import mouth_mask

# Of the aligned crop's side: the mouth, whoever it is, with room for it to open.
MOUTH_ROWS, MOUTH_COLUMNS = (0.54, 0.76), (0.31, 0.69)
_OURS = "this project"


class MouthRegion:
    """Needs the source video's frames, or the true ones, as the reference; all of aligned faces."""

    definitions: Sequence[Definition] = (
        Definition(
            "region_psnr", "PSNR, generated region", "dB", "higher",
            "of the pixels that the mouth mask gives to the model, over all frames of a video; equal ones: 100 dB",
            "torchmetrics' formula", "truth", 2,
        ),
        Definition(
            "sharpness", "sharpness, mouth", "of the reference's", "none",
            "variance of the Laplacian in the mouth, mean over frames, over that of the reference", _OURS, "source", 2,
        ),
        Definition(
            "edge_step", "edge step", "grey levels", "lower",
            "mean step across the mouth mask's edge, smoothed along it", _OURS, "source", 2,
        ),
        Definition(
            "edge_step_source", "edge step, reference", "grey levels", "none", "the same line in the reference", _OURS,
            "source", 2,
        ),
        Definition(
            "jitter", "jitter", "of the reference's", "lower",
            "mean |x(t−1) − 2 x(t) + x(t+1)| in the generated region over that of the reference", _OURS, "source", 2,
        ),
    )  # fmt: skip

    def begin(self) -> "_Region":
        return _Region()


class _Region:
    """Sums over frames: [generated, reference] where both are measured."""

    def __init__(self) -> None:
        self._error, self._sharpness, self._steps, self._bends = 0.0, np.zeros(2), np.zeros(2), np.zeros(2)
        self._frames = self._bent = 0
        self._last: list[tuple[int, np.ndarray]] = []

    def add(self, pair: FramePair) -> None:
        crops = np.stack([pair.crop, reference_crop(pair)]).astype(np.float32)  # (2, R, R, 3)
        region = generated_region(crops.shape[1])
        self._frames += 1
        self._error += float(np.square(crops[0] - crops[1])[region].mean())
        grey = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY) for crop in (pair.crop, reference_crop(pair))]
        self._sharpness += [sharpness(picture) for picture in grey]
        self._steps += [edge_step(picture) for picture in grey]
        self._last = [*self._last[-2:], (pair.index, crops)]
        if [index for index, _ in self._last] == [pair.index - 2, pair.index - 1, pair.index]:
            before, middle, after = (frame for _, frame in self._last)
            self._bends += np.abs(before - 2 * middle + after)[:, region].mean(axis=(1, 2))
            self._bent += 1

    def values(self, heard: Heard) -> dict[str, Any]:
        if self._frames == 0:
            raise NotComputed("no frame with a face")
        error, steps = self._error / self._frames, self._steps / self._frames
        found = {
            "region_psnr": decibels(error),
            "edge_step": float(steps[0]),
            "edge_step_source": float(steps[1]),
        }
        if self._sharpness[1] > 0:
            found["sharpness"] = float(self._sharpness[0] / self._sharpness[1])
        if self._bent and self._bends[1] > 0:
            found["jitter"] = float(self._bends[0] / self._bends[1])
        return found


@cache
def generated_region(side: int) -> np.ndarray:
    """Pixels (side, side) bool of an aligned crop that the model draws."""
    return mouth_mask(side)[0].numpy() < 0.5


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian in the mouth of an aligned crop (R, R) uint8 (Pech-Pacheco et al. 2000)."""
    rows, columns = ([round(share * len(grey)) for share in part] for part in (MOUTH_ROWS, MOUTH_COLUMNS))
    return float(cv2.Laplacian(grey, cv2.CV_64F)[slice(*rows), slice(*columns)].var())


def edge_step(grey: np.ndarray) -> float:
    """Mean absolute difference, in grey levels, of an aligned crop (R, R) just inside and just outside of the mask.

    The difference is first averaged along a sixteenth of the crop's side, so that texture, which has no direction, does
    not count as a seam.
    """
    inside, outside, span = _edge(len(grey))
    picture = grey.astype(np.float64)
    difference = np.subtract(*(map_coordinates(picture, places, order=1) for places in (inside, outside)))
    # The edge is a ring: its end is beside its beginning.
    ring = np.concatenate([difference[-span:], difference, difference[:span]])
    smooth = np.convolve(ring, np.ones(span) / span, "same")[span:-span]
    return float(np.abs(smooth).mean())


@cache
def _edge(side: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Places (2, N), rows and columns, inside and outside of the mask's edge, one a pixel; how many to average."""
    region = generated_region(side).astype(np.uint8)
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    ring = max(contours, key=len)[:, 0].astype(np.float32)  # (N, 2), x and y
    soft = cv2.GaussianBlur(region.astype(np.float32), (0, 0), side / 64)
    slope = np.stack([cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)], axis=-1)
    inwards = slope[ring[:, 1].astype(int), ring[:, 0].astype(int)]
    inwards /= np.linalg.norm(inwards, axis=1, keepdims=True) + 1e-9
    # The contour runs along the region's outermost pixels; half a pixel further out is the edge itself.
    reach = max(2.0, side / 64)
    middle = ring - 0.5 * inwards
    inside, outside = middle + reach * inwards, middle - reach * inwards
    return inside.T[::-1], outside.T[::-1], max(1, side // 16)
