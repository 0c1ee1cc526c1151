"""A generated mouth in the colours of the face around it: no border where the mouth mask ends."""

from functools import lru_cache

import cv2
import numpy as np

# Inside the mask, within this share of the crop's side from its edge, both faces show the same skin.
_RING_SHARE = 1 / 64
_WHOLLY_GENERATED = 0.02


def match_colors(face: np.ndarray, crop: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The generated face with its colours shifted so that they meet the crop's at the mouth mask's edge.

    face, crop: (R, R, 3) uint8 RGB, generated and true; keep: (R, R, 1) in [0, 1], 1 = not generated. What both
    differ by just inside the edge is spread inwards, ever smoother, and added to what was generated.
    """
    ring, nearest = _geometry(keep.tobytes(), keep.shape[0])
    difference = crop.astype(np.float32) - face
    side = keep.shape[0]
    # At the ring one pixel speaks for itself; far from it, the mean of many does.
    spread = difference[ring][nearest]  # (R, R, 3): what the nearest pixel of the ring differs by
    soft = cv2.GaussianBlur(spread, (0, 0), side / 16)
    distance = cv2.distanceTransform((~ring).astype(np.uint8), cv2.DIST_L2, 3)[..., None] / (side / 8)
    shift = spread + np.minimum(distance, 1) * (soft - spread)
    return np.rint(face + (1 - keep) * shift).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _geometry(keep: bytes, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The ring just inside the mask, (R, R) bool, and for each pixel the number of the ring's pixel nearest to it."""
    kept = np.frombuffer(keep, np.float32).reshape(side, side) > _WHOLLY_GENERATED
    width = max(1, round(side * _RING_SHARE))
    grown = cv2.dilate(kept.astype(np.uint8), np.ones((2 * width + 1, 2 * width + 1), np.uint8)) > 0
    ring = grown & ~kept
    _, labels = cv2.distanceTransformWithLabels(
        (~ring).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    number_of_label = np.zeros(labels.max() + 1, np.int64)
    number_of_label[labels[ring]] = np.arange(int(ring.sum()))
    return ring, number_of_label[labels]
