"""Faces to aligned crops: a similarity transform from three landmarks, smoothed over frames (as published)."""

from dataclasses import dataclass

import cv2
import numpy as np

# Left brow, right brow, nose centre (x, y) on a canvas of 75 × 100; at resolution 256 all of it is 2.8 times larger.
_TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]])
_CANVAS_WH = (75, 100)
_CANVAS_SCALE = 2.8 / 256
_OUTSIDE = (127, 127, 127)


@dataclass(frozen=True)
class AlignedFace:
    """crop: (R, R, 3) uint8 RGB; matrix: (2, 3) float32, image (x, y, 1) to canvas (x, y) — see `canvas_size`."""

    crop: np.ndarray
    matrix: np.ndarray


def canvas_size(resolution: int) -> tuple[int, int]:
    """(width, height) of the upright canvas that a crop of this resolution is squeezed from: (210, 280) for 256."""
    scale = _CANVAS_SCALE * resolution
    return int(_CANVAS_WH[0] * scale + 1e-9), int(_CANVAS_WH[1] * scale + 1e-9)


class FaceAligner:
    """Align the faces of one video, frame after frame.

    resolution: side R of the crops. smoothing: how much of the previous frame's correction is kept, in [0, 1).
    The state belongs to one video: `reset()` before the next.
    """

    def __init__(self, resolution: int, smoothing: float = 0.2) -> None:
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be in [0, 1), not {smoothing}")
        self.resolution = resolution
        self.smoothing = smoothing
        self._template = _TEMPLATE * (_CANVAS_SCALE * resolution)
        self._bias: np.ndarray | None = None

    def reset(self) -> None:
        """Forget the previous frame."""
        self._bias = None

    def align(self, frame: np.ndarray, landmarks3: np.ndarray) -> AlignedFace:
        """Cut the face out of one frame.

        frame: (H, W, 3) uint8 RGB. landmarks3: (3, 2), image coordinates (x, y) of left brow (smaller x), right brow
        and nose centre. What lies outside the frame is grey 127. Raises ValueError for points that coincide.
        """
        matrix = self._matrix(np.round(np.asarray(landmarks3, dtype=np.float64)))
        return AlignedFace(crop=crop_with(frame, matrix, self.resolution), matrix=matrix.astype(np.float32))

    def _matrix(self, points: np.ndarray) -> np.ndarray:
        """Procrustes: the rotation and scale that bring the points nearest to the template, plus a smoothed shift.

        The shift is what is left between the nose and its place after both figures are brought to unit spread, so it
        is of the order of a pixel.
        """
        if points.shape != (3, 2) or not np.isfinite(points).all():
            raise ValueError(f"landmarks3 must be (3, 2) finite numbers, not {points.tolist()}")
        centre, target_centre = points.mean(axis=0), self._template.mean(axis=0)
        spread, target_spread = (points - centre).std(ddof=1), (self._template - target_centre).std(ddof=1)
        if spread < 1:
            raise ValueError(f"landmarks3 coincide: {points.tolist()}")
        figure = (points - centre) / spread
        target = (self._template - target_centre) / target_spread

        left, _, right = np.linalg.svd(target.T @ figure)
        turn = left @ np.diag([1.0, np.sign(np.linalg.det(left @ right))]) @ right  # a rotation, never a mirror
        linear = turn * (target_spread / spread)

        bias = target[2] - figure[2]
        if self._bias is not None:
            bias = self.smoothing * self._bias + (1 - self.smoothing) * bias
        self._bias = bias
        shift = target_centre - linear @ centre + bias
        return np.concatenate([linear, shift[:, None]], axis=1)


def crop_with(frame: np.ndarray, matrix: np.ndarray, resolution: int) -> np.ndarray:
    """The crop (R, R, 3) of a frame (H, W, 3) uint8 by a matrix (2, 3) from image to canvas, see `AlignedFace`."""
    canvas = cv2.warpAffine(
        frame,
        matrix,
        canvas_size(resolution),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=_OUTSIDE,
    )
    return cv2.resize(canvas, (resolution, resolution), interpolation=cv2.INTER_LANCZOS4)
