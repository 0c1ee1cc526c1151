"""The fixed mouth mask of the published LatentSync: which pixels of an aligned face are generated."""

from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

_SIZE = 256
# Rows 95–127: two cheek blocks, with a notch between them that keeps the nose. Columns are [first, last].
_CHEEK_ROWS = (95, 128)
_CHEEK_COLUMNS = ((9, 77), (178, 246))
# From row 128 on: one block; its left and right edge as (column, for how many rows), then by one row each.
_JAW_TOP = 128
_LEFT_RUNS = (
    *((9, 8), (10, 14), (11, 14), (12, 7), (13, 2), (14, 2), (15, 2), (16, 2), (17, 1), (18, 2), (19, 2), (20, 1)),
    *((21, 2), (22, 2), (23, 1), (24, 1), (25, 1), (26, 2), (27, 1), (28, 1), (29, 1), (30, 1), (31, 1), (32, 1)),
    *((33, 1), (34, 2)),
)
_LEFT_SINGLES = (
    *(35, 36, 37, 38, 39, 40, 42, 43, 44, 45, 47, 48, 49, 51, 52, 54, 56, 57, 59, 60, 62, 64, 66, 68, 70, 72, 74, 76),
    *(78, 80, 82, 85, 87, 90, 93, 95, 99, 104, 108, 131),
)
_RIGHT_RUNS = (
    *((247, 7), (246, 14), (245, 14), (244, 7), (243, 2), (242, 2), (241, 2), (240, 2), (239, 1), (238, 2), (237, 1)),
    *((236, 2), (235, 1), (234, 2), (233, 1), (232, 2), (231, 1), (230, 2), (229, 1), (228, 2), (227, 1), (226, 1)),
    *((225, 1), (224, 1), (223, 2)),
)
_RIGHT_SINGLES = (
    *(222, 221, 220, 219, 218, 217, 216, 215, 214, 213, 212, 211, 210, 208, 207, 206, 204, 203, 202, 200, 199, 197),
    *(196, 194, 192, 191, 189, 187, 185, 183, 180, 178, 175, 173, 171, 168, 166, 164, 160, 156, 152),
)


def mouth_mask(resolution: int) -> Tensor:
    """The mask for aligned faces of resolution × resolution pixels.

    Returns (1, R, R) float32: 1 = keep the pixel, 0 = to be generated; in between only where a size other than 256 cuts
    through a pixel (Lanczos, as published).
    """
    if resolution < 8:
        raise ValueError(f"resolution must be at least 8, not {resolution}")
    mask = _mask_256()
    if resolution != _SIZE:
        mask = cv2.resize(mask, (resolution, resolution), interpolation=cv2.INTER_LANCZOS4)
    return torch.from_numpy(mask.astype(np.float32) / 255)[None]


def mouth_share(resolution: int) -> np.ndarray:
    """How much of each pixel a pasted mouth replaces: 1 inside the generated region, 0 outside it, soft in between.

    Returns (R, R) float32. The soft edge lies within the region, a sixteenth of the face wide, so that no pixel is
    replaced that the network was shown.
    """
    generated = 1 - mouth_mask(resolution)[0].clamp(0, 1).numpy()
    edge = 2 * (resolution // 32) + 1
    inner = cv2.erode(generated, np.ones((edge, edge), np.uint8), borderValue=0)
    return cv2.GaussianBlur(inner, (edge, edge), 0)


@cache
def _mask_256() -> np.ndarray:
    """(256, 256) uint8, 255 = keep."""
    mask = np.full((_SIZE, _SIZE), 255, np.uint8)
    for first, last in _CHEEK_COLUMNS:
        mask[slice(*_CHEEK_ROWS), first : last + 1] = 0
    left = [column for column, rows in _LEFT_RUNS for _ in range(rows)] + list(_LEFT_SINGLES)
    right = [column for column, rows in _RIGHT_RUNS for _ in range(rows)] + list(_RIGHT_SINGLES)
    for row, (first, last) in enumerate(zip(left, right, strict=True), start=_JAW_TOP):
        mask[row, first : last + 1] = 0
    return mask
