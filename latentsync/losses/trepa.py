"""The TREPA loss: frames move the way real frames move (LatentSync, arXiv 2412.09262, Eq. 5)."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEModel

from latentsync.losses.loss import Loss, LossInputs, Needs
from latentsync.models.video_encoder import VideoEncoder
from latentsync.weights.videomae import GIANT, videomae_config


class TrepaLoss(Loss):
    """MSE of the L2-normalised features that a frozen video encoder gives to generated and true clips."""

    needs: Needs = "clip"

    def __init__(self, video_encoder: VideoEncoder) -> None:
        super().__init__()
        self.video_encoder = video_encoder.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "TrepaLoss":
        """With the video encoder in the folder `path`. Raises UserError if there is none."""
        return cls(VideoEncoder.from_pretrained(path))

    @classmethod
    def untrained(cls, path: str | Path) -> "TrepaLoss":
        """In the size of the video encoder in the folder `path`, or of the published one if there is no folder."""
        there = (Path(path) / "config.json").is_file()
        config = VideoMAEConfig.from_pretrained(path) if there else videomae_config(GIANT)
        return cls(VideoEncoder(VideoMAEModel(config), nn.LayerNorm(config.hidden_size)))

    def enable_gradient_checkpointing(self) -> None:
        self.video_encoder.gradient_checkpointing_enable()

    def forward(self, inputs: LossInputs) -> Tensor:
        decoded, frames = inputs.pixels()
        with torch.no_grad():
            true_features = self.features(frames)
        return F.mse_loss(self.features(decoded), true_features)

    def features(self, frames: Tensor) -> Tensor:
        """Unit feature vectors (B, D), float32, of frames (B, F, 3, H, W) in [-1, 1]."""
        return F.normalize(self.video_encoder((frames + 1) / 2).float(), dim=-1)
