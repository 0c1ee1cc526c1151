"""The eyes of a synthetic face: lids that blink and a gaze that wanders, drawn for many frames at once."""

from __future__ import annotations

import numpy as np

from latentsync.data.synthetic_head import EYE_X, Window
from latentsync.data.synthetic_look import Look
from latentsync.data.synthetic_mouth import Patch


def draw_eyes(look: Look, lids: np.ndarray, gaze: np.ndarray, window: Window, side: int, gain: float) -> Patch:
    """One eye for every frame: `lids` (F,) 0 shut to 1 open, `gaze` (F, 2) in [-1, 1], `side` 0 left or 1 right."""
    x, y = window.grid()
    rows = y[None]
    cx, cy = EYE_X[side], look.eye_y
    arch = np.clip(1 - ((x - cx) / look.eye_half_width) ** 2, 0, 1)
    lean = 1.6 * (x - cx) / look.eye_half_width * (-1 if side == 1 else 1)  # the outer corner sits a little higher
    low = cy + lean + 0.55 * look.eye_height * arch
    high = cy + lean - look.eye_height * arch**0.75
    upper = low + (high - low) * lids[:, None]  # (F, W)
    px = 1.0 / window.scale
    open_part = np.clip(0.5 + (rows - upper[:, None]) / (1.3 * px), 0, 1) * np.clip(
        0.5 - (rows - low[None]) / (1.3 * px), 0, 1
    )
    open_part = open_part * (lids > 0.08)[:, None, None]
    eye_x = cx + 3.5 * gaze[:, 0, None, None]
    eye_y = cy - 1.5 + 1.2 * gaze[:, 1, None, None]
    radius = np.sqrt((x[None] - eye_x) ** 2 + (rows - eye_y) ** 2)
    iris = np.clip(0.5 - (radius - 0.92 * look.eye_height) / px, 0, 1)
    pupil = np.clip(0.5 - (radius - 0.42 * look.eye_height) / px, 0, 1)
    glint = np.exp(-((x[None] - eye_x - 2.6) ** 2 + (rows - eye_y + 2.8) ** 2) / 3.4)
    shadow = 1 - 0.30 * np.exp(-(((rows - upper[:, None]) / 3.5) ** 2))
    rgb = np.empty((*np.broadcast_shapes(radius.shape, shadow.shape), 3), np.float32)
    ring = 1 - 0.45 * np.clip((radius / (0.92 * look.eye_height) - 0.7) / 0.3, 0, 1)
    for channel, white in enumerate((238.0, 235.0, 232.0)):
        plane = white + iris * (look.eye[channel] * ring * 1.1 - white)
        plane = plane * (1 - pupil) + 16 * pupil
        rgb[..., channel] = plane * shadow * gain + 200 * glint * np.maximum(iris, 0)
    thinning = 0.85 * (arch > 0.02) * np.clip(arch / 0.2, 0.5, 1)
    lash = np.exp(-(((rows - upper[:, None]) / 1.7) ** 2)) * thinning[None]
    rgb = rgb * (1 - lash[..., None]) + np.array((44, 28, 26), np.float32) * lash[..., None]
    alpha = np.maximum(open_part, lash)
    return Patch(np.clip(rgb, 0, 255).astype(np.float32), alpha[..., None].astype(np.float32))


def draw_blinks(num_frames: int, period: float, rng: np.random.Generator, fps: int = 25) -> np.ndarray:
    """How open the lids are, (F,) in [0, 1]: a blink of about a quarter of a second every `period` seconds or so."""
    lids = np.ones(num_frames)
    times = (np.arange(num_frames) + 0.5) / fps
    blink = rng.uniform(0.0, period)
    while blink < times[-1] + 0.3:
        lids = np.minimum(lids, 1 - np.clip(1.5 - np.abs(times - blink) / 0.085, 0, 1))
        blink += period * rng.uniform(0.6, 1.5)
    return lids
