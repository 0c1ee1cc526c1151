"""Stage quality: fine detail and coding blocks, measured without a network; hyperIQA where the pyiqa package is."""

from typing import Any

import cv2
import numpy as np

from data_prep.candidate import FaceFrame
from data_prep.manifest import Row
from latentsync.errors import UserError

_BLOCK = 8  # pixels: transform blocks of JPEG, MPEG and H.264 begin at multiples of it


def blockiness(grey: np.ndarray, x0: int = 0, y0: int = 0) -> float:
    """Mean grey step across the lines of the 8-pixel grid / mean step elsewhere; 1 = no blocks to be seen.

    grey: (h, w) uint8, a part of a picture that begins at its pixel (x0, y0).
    """
    on: list[np.ndarray] = []
    off: list[np.ndarray] = []
    for axis, origin in ((1, x0), (0, y0)):
        steps = np.abs(np.diff(grey.astype(np.float32), axis=axis))
        steps = steps.mean(axis=1 - axis)
        at_grid = (np.arange(1, len(steps) + 1) + origin) % _BLOCK == 0
        on.append(steps[at_grid])
        off.append(steps[~at_grid])
    grid, elsewhere = np.concatenate(on), np.concatenate(off)
    if len(grid) == 0 or len(elsewhere) == 0:
        return 1.0
    # One grey level is added, so that noise in a flat picture does not count as blocks.
    return float((grid.mean() + 1) / (elsewhere.mean() + 1))


def detail(crop: np.ndarray) -> float:
    """How much of a crop's contrast is lost when it is halved and brought back: near 0 for an enlarged or blurred face.

    crop: (R, R, 3) uint8 RGB.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    half = cv2.resize(grey, (grey.shape[1] // 2, grey.shape[0] // 2), interpolation=cv2.INTER_AREA)
    back = cv2.resize(half, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_CUBIC)
    return float((grey - back).std() / max(1e-6, float(grey.std())))


class HyperIqa:
    """hyperIQA (Su et al., CVPR 2020) through pyiqa, on its scale of 0 … 100. Raises UserError without pyiqa."""

    def __init__(self, device: str = "cpu") -> None:
        try:
            import pyiqa
        except ImportError as error:
            raise UserError(
                "measure.quality.hyperiqa=true: the pyiqa package is not installed; "
                "pip install 'latentsync-in-lightning[quality]', or set measure.quality.hyperiqa=false"
            ) from error
        self._metric: Any = pyiqa.create_metric("hyperiqa", device=device)

    def score(self, crops: list[np.ndarray]) -> float:
        """The mean over crops (R, R, 3) uint8 RGB."""
        import torch

        with torch.inference_mode():
            pictures = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
            return 100 * float(self._metric(pictures).mean())


def measure_quality(frames: list[FaceFrame], iqa: HyperIqa | None) -> Row:
    """quality_… of a candidate: of its first, middle and last frame, as published; blockiness over more of them."""
    chosen = [frames[0].crop, frames[len(frames) // 2].crop, frames[-1].crop]
    blocks = [frame.look.light[3] for frame in frames if frame.look.light is not None]
    return {
        "quality_detail": round(float(np.mean([detail(crop) for crop in chosen])), 4),
        "quality_blockiness": round(float(np.median(blocks)), 3),
        "quality_iqa": None if iqa is None else round(iqa.score(chosen), 2),
    }
