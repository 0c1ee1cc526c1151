"""Reads the mouth opening of synthetic heads back from the pixels of aligned crops.

The inside of a synthetic mouth is almost black; lips and skin are bright in their strongest channel, however dark the
skin. The darkness summed down the middle columns of the mouth is therefore the height of the opening, and blur, which
only moves darkness about, hardly changes it.
"""

from __future__ import annotations

import numpy as np

from latentsync.data.synthetic_face import CANVAS
from latentsync.data.synthetic_mouth import FULL_OPENING

# Of the crop's side: where the middle of the mouth is, whatever the jitter.
_COLUMNS = (0.475, 0.525)
_ROWS = (0.535, 0.86)
_SKIN_ROWS, _SKIN_COLUMNS = (0.48, 0.56), (0.18, 0.82)
_DARK = 46.0
"""Brightness (largest channel) of a mouth's inside."""
_BRIGHT_SHARE, _BRIGHT_RANGE = 0.60, (90.0, 118.0)
"""From this share of the skin's brightness upwards, kept within the range, nothing counts as dark."""
_DARK_PART = 0.79
"""Of an opening's height, the part that is dark; teeth take the rest."""


def measure_mouth_opening(frames: np.ndarray) -> np.ndarray:
    """The opening seen in each aligned crop, (F,) float64, about 0 (shut) to 1 (fully open).

    frames: (F, R, R, 3) uint8 RGB aligned crops of synthetic heads. Raises ValueError for another shape or type.
    """
    if frames.ndim != 4 or frames.shape[1] != frames.shape[2] or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be (F, R, R, 3) uint8, not {frames.shape} {frames.dtype}")
    side = frames.shape[1]
    mouth = _part(frames, _ROWS, _COLUMNS).max(axis=-1).astype(np.float64)
    skin = np.median(_part(frames, _SKIN_ROWS, _SKIN_COLUMNS).max(axis=-1))
    bright = float(np.clip(_BRIGHT_SHARE * skin, *_BRIGHT_RANGE))
    darkness = np.clip((bright - mouth) / (bright - _DARK), 0, 1)
    height = darkness.sum(axis=1).mean(axis=1)  # (F,) rows
    full = _DARK_PART * FULL_OPENING * side / CANVAS[1]
    return height / full


def _part(frames: np.ndarray, rows: tuple[float, float], columns: tuple[float, float]) -> np.ndarray:
    side = frames.shape[1]
    return frames[:, round(rows[0] * side) : round(rows[1] * side), round(columns[0] * side) : round(columns[1] * side)]
