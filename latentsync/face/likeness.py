"""How alike two faces look, from their pixels alone: enough to tell the people of one video apart.

No recognition network is used (those with weights free to use for everyone are rare): colours and shades of the aligned
face are compared, so lighting and make-up count as much as features do.
"""

import cv2
import numpy as np

from latentsync.face.alignment import FaceAligner
from latentsync.face.landmarks import Face

_SIDE = 64
_GRID = 12
_COLOR_SPREAD = 12.0  # levels of Lab's a and b in which skins and backgrounds of two people differ


def face_look(image: np.ndarray, face: Face) -> np.ndarray:
    """What a face looks like, (12, 12, 3) float32 Lab of its aligned crop. image: (H, W, 3) uint8 RGB."""
    crop = FaceAligner(_SIDE).align(image, face.landmarks3).crop
    # Background at the sides and the mouth, which moves, are left out.
    inner = crop[: _SIDE * 3 // 5, _SIDE // 8 : -_SIDE // 8]
    lab = cv2.cvtColor(np.ascontiguousarray(inner, dtype=np.float32) / 255, cv2.COLOR_RGB2LAB)
    return cv2.resize(lab, (_GRID, _GRID), interpolation=cv2.INTER_AREA)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """−1 … 1: the correlation of two faces' shades, less what their colours differ; 1 for the same picture."""
    shades = [look[..., 0] - look[..., 0].mean() for look in (one, other)]
    norm = float(np.linalg.norm(shades[0]) * np.linalg.norm(shades[1]))
    correlation = float((shades[0] * shades[1]).sum()) / norm if norm > 1e-6 else 0.0
    colors = one[..., 1:].mean(axis=(0, 1)) - other[..., 1:].mean(axis=(0, 1))
    return max(-1.0, correlation - float(np.linalg.norm(colors)) / _COLOR_SPREAD)
