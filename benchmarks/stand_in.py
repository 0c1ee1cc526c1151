"""A pipeline without networks worth the name: what remains is reading, faces, clocks, paste-back and writing."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from latentsync.face.landmarks import Face, FaceFinder
from latentsync.face.mouth_mask import mouth_mask
from latentsync.inference import LipSyncPipeline
from latentsync.inference.generator import StepProgress, WindowGenerator, WindowInput
from latentsync.models.audio_encoder import AudioEncoder


class Painter:
    """Stands for a `WindowGenerator`: adds `levels` to the mouth region of each crop.

    By 0 the face comes back as it is. batches: how many windows each call brought.
    """

    def __init__(self, resolution: int = 64, levels: int = 40, num_frames: int = 16) -> None:
        self.resolution, self.num_frames, self.levels = resolution, num_frames, levels
        self.device = torch.device("cpu")
        self.batches: list[int] = []
        self._painted = (1 - mouth_mask(resolution).numpy()[0, ..., None]) * levels

    def start_noise(self, seed: int) -> torch.Tensor:
        """Nothing is drawn."""
        return torch.zeros(1)

    def generate(
        self,
        windows: Sequence[WindowInput],
        num_inference_steps: int,
        guidance_scale: float,
        progress: StepProgress | None = None,
        scheduler: str = "ddim",
        feature_reuse: int = 1,
        guidance_start: float = 0.0,
    ) -> list[list[np.ndarray]]:
        """Painted crops."""
        self.batches.append(len(windows))
        if progress is not None:
            progress(1, 1)
        return [[np.clip(np.rint(crop + self._painted), 0, 255).astype(np.uint8) for crop in w.crops] for w in windows]


class FixedFace:
    """A face finder that finds one face, at the same share of every picture."""

    def find(self, frame: np.ndarray, time: float) -> list[Face]:
        """One frontal face, a third of the picture's height."""
        height, width = frame.shape[:2]
        x, y, size = width / 2, height / 3, max(48.0, height / 3)
        points = np.array([[x - size / 4, y], [x + size / 4, y], [x, y + size / 4]])
        return [Face(points, (x - size / 2, y - size / 4, x + size / 2, y + 3 * size / 4))]

    def reset(self) -> None:
        """Nothing is remembered."""


def stand_in_pipeline(
    resolution: int = 64, levels: int = 40, finder: FaceFinder | None = None, painter: Painter | None = None
) -> LipSyncPipeline:
    """A pipeline whose network paints, with a tiny random audio encoder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = AudioEncoder.from_config(d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32)
    generate = cast(WindowGenerator, painter or Painter(resolution, levels))
    return LipSyncPipeline.from_generator(generate, encoder, finder or FixedFace())
