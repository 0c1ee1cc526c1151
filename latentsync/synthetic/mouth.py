"""The moving mouth of a synthetic face: lips, mouth interior and jaw, drawn for many frames at once.

Canvas units throughout (see `look`). The inner edges of the lips part by `FULL_OPENING` · opening at the
middle of the mouth, whatever its width and rounding, so that the opening can be read back from the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentsync.synthetic.articulation import Track
from latentsync.synthetic.head import CENTRE_X, Window
from latentsync.synthetic.look import CANVAS, Look

MOUTH_Y = 178.0
FULL_OPENING = 40.0
JAW_DROP = 9.0
"""How far the chin falls for an opening of 1."""
_UPPER_SHARE = 0.26
"""Of an opening, the part by which the upper lip rises; the lower lip takes the rest."""
INTERIOR = (30.0, 9.0, 12.0)
_TONGUE = (50.0, 17.0, 21.0)
_TEETH = (206.0, 200.0, 190.0)
MOUTH_BOX = (52.0, 148.0, 158.0, 236.0)
JAW_BOX = (26.0, 140.0, 184.0, 264.0)
"""Both lie inside the generated part of the mouth mask, so that nothing outside it moves with the mouth."""

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


@dataclass(frozen=True)
class Patch:
    """RGBA pictures of a part, one a frame: rgb (F, h, w, 3) float32, 0 to 255; alpha (F, h, w, 1), in [0, 1]."""

    rgb: np.ndarray
    alpha: np.ndarray


@dataclass(frozen=True)
class LipCurves:
    """The four edges of the lips, y (F, W) at x (1, W), and half the width (F, 1) of the mouth's inside and outside."""

    outer_top: np.ndarray
    inner_top: np.ndarray
    inner_bottom: np.ndarray
    outer_bottom: np.ndarray
    inner_half: np.ndarray
    outer_half: np.ndarray


def lip_curves(look: Look, track: Track, x: np.ndarray) -> LipCurves:
    """The lips' edges for every frame of `track` at the positions `x` (1, W)."""
    opening, width, rounding = (a[:, None].astype(np.float32) for a in (track.opening, track.width, track.rounding))
    inner_half = look.mouth_half_width * (1 + 0.17 * width - 0.29 * rounding - 0.05 * opening)
    outer_half = inner_half + 4.0 + 1.5 * rounding
    gap = FULL_OPENING * opening
    inside = _arch(x, inner_half)
    outside = _arch(x, outer_half)
    sharpness = 0.72 - 0.24 * rounding  # a lens when spread, an ellipse when rounded
    offset = (x - CENTRE_X) / outer_half
    line = MOUTH_Y + 1.2 - (1.2 + 2.4 * np.clip(width, 0, 1)) * np.clip(offset, -1.2, 1.2) ** 2
    cupid = 1.0 + 0.16 * np.exp(-(((np.abs(x - CENTRE_X) - 8) / 6) ** 2)) - 0.14 * np.exp(-(((x - CENTRE_X) / 4) ** 2))
    upper = 8.0 * look.lip_thickness * (1 - 0.22 * opening - 0.18 * np.clip(width, 0, 1) + 0.25 * rounding)
    lower = 11.0 * look.lip_thickness * (1 - 0.15 * opening - 0.15 * np.clip(width, 0, 1) + 0.22 * rounding)
    inner_rise, outer_rise = gap * inside**sharpness, gap * outside**sharpness
    return LipCurves(
        outer_top=line - _UPPER_SHARE * outer_rise - upper * outside**0.8 * cupid,
        inner_top=line - _UPPER_SHARE * inner_rise,
        inner_bottom=line + (1 - _UPPER_SHARE) * inner_rise,
        outer_bottom=line + (1 - _UPPER_SHARE) * outer_rise + lower * outside**0.65,
        inner_half=inner_half,
        outer_half=outer_half,
    )


def _arch(x: np.ndarray, half: np.ndarray) -> np.ndarray:
    """1 - u², 0 outside the corners."""
    return np.clip(1 - ((x - CENTRE_X) / half) ** 2, 0, 1)


def draw_mouths(look: Look, track: Track, window: Window, gain: float) -> Patch:
    """Lips, teeth, tongue and the dark between for every frame of `track`, over `window`; `gain` is the light there."""
    x, y = window.grid()
    curves = lip_curves(look, track, x)
    rows = y[None]  # (1, h, 1)
    edge = np.float32(1.0 / window.scale)

    def below(curve: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """Opacity (F, h, W) of what lies below `curve` (F, W), its edge one pixel wide across the slope."""
        slope = np.gradient(curve, axis=1) * window.scale
        reach = np.maximum(edge * np.sqrt(1 + slope**2), soft).astype(np.float32)[:, None, :]
        return np.clip(0.5 + (rows - curve.astype(np.float32)[:, None, :]) / reach, 0, 1)

    top, bottom = below(curves.inner_top), below(curves.inner_bottom)
    # Edges one pixel wide leave a hairline where both run together, beyond the corners: thin lips fade out.
    fullness = np.clip((curves.outer_bottom - curves.outer_top) / (1.5 * edge), 0, 1)[:, None, :]
    lips = below(curves.outer_top) * (1 - below(curves.outer_bottom)) * fullness
    hole = top * (1 - bottom) * np.clip((curves.inner_bottom - curves.inner_top) / (1.2 * edge), 0, 1)[:, None, :]
    lip = np.array(look.lip, np.float32) * max(gain, 0.84)
    # The upper lip turns away from the light, the lower one catches it.
    lower_lip = curves.outer_bottom - curves.inner_bottom + 1e-3
    height = np.clip((rows - curves.inner_bottom[:, None]) / lower_lip[:, None], 0, 1)
    tone = 0.92 + bottom * (0.06 + 0.16 * np.exp(-(((height - 0.45) / 0.28) ** 2)))
    rgb = tone[..., None] * lip
    # Where the lips meet, a darker lip-coloured line; it must not look like the dark of an open mouth.
    meeting = np.exp(-(((rows - 0.5 * (curves.inner_top + curves.inner_bottom)[:, None]) / 1.3) ** 2))
    shut = np.clip(1 - (curves.inner_bottom - curves.inner_top) / 3.0, 0, 1)[:, None]
    rgb *= (1 - 0.26 * meeting * shut)[..., None]
    inside = _interior(track, curves, x, rows, window)
    rgb += hole[..., None] * (inside - rgb)
    alpha = np.maximum(lips, hole)
    return Patch(np.clip(rgb, 0, 255).astype(np.float32), alpha[..., None].astype(np.float32))


def _interior(track: Track, curves: LipCurves, x: np.ndarray, rows: np.ndarray, window: Window) -> np.ndarray:
    """What is seen between the lips (F, h, W, 3): the upper teeth, the tongue low down, the dark."""
    gap = (curves.inner_bottom - curves.inner_top)[:, None, :]
    depth = (rows - curves.inner_top[:, None, :]) / np.maximum(gap, 1e-3)  # 0 at the upper lip, 1 at the lower
    rounding = track.rounding[:, None, None].astype(np.float32)
    opening = track.opening[:, None, None].astype(np.float32)
    share = 0.23 * (1 - 0.6 * rounding)
    pixel = 1.0 / (window.scale * np.maximum(gap, 1.0))
    span = np.clip((0.86 - np.abs(x - CENTRE_X) / curves.inner_half)[:, None, :] / 0.1, 0, 1)
    teeth = np.clip(0.5 + (share - depth) / pixel, 0, 1) * span * np.clip((opening - 0.12) / 0.35, 0, 1)
    gaps = 1 - 0.10 * np.exp(-(((((x - CENTRE_X + 3.4) % 6.8) - 3.4) / 0.7) ** 2))
    hump = 0.62 + 0.25 * ((x - CENTRE_X) / (0.62 * curves.inner_half))[:, None, :] ** 2
    tongue = np.clip((depth - hump) / 0.10, 0, 1) * np.clip((opening - 0.25) / 0.2, 0, 1)
    result = np.zeros((*np.broadcast_shapes(depth.shape, teeth.shape), 3), np.float32)
    for channel in range(3):
        plane = INTERIOR[channel] + tongue * (_TONGUE[channel] - INTERIOR[channel])
        result[..., channel] = plane + teeth * (_TEETH[channel] * gaps * 0.92 - plane)
    return result


def jaw_map(window: Window) -> np.ndarray:
    """How much each pixel of `window` (JAW_BOX) follows the jaw: (h, w) float32, 0 on the border, 1 at the chin."""
    x, y = window.grid()
    # Half the mask's width, less a margin: it narrows below the chin, and so does the part that moves.
    reach = 75 * np.sqrt(np.clip(1 - (np.clip(y - 200, 0, None) / 64) ** 2, 0, 1)) - 6
    parts = (
        np.clip((y - 168) / 40, 0, 1),
        np.clip((258 - y) / 27, 0, 1),
        np.clip((reach - np.abs(x - CENTRE_X)) / 34, 0, 1),
    )
    above, below, aside = (part * part * (3 - 2 * part) for part in parts)
    return (above * below * aside).astype(np.float32)


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
