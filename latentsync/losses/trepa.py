"""The TREPA loss: frames move the way real frames move (LatentSync, arXiv 2412.09262, Eq. 5)."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentsync.models.video_encoder import VideoEncoder


class TrepaLoss(nn.Module):
    """MSE of the L2-normalised features that a frozen video encoder gives to generated and true clips."""

    def __init__(self, video_encoder: VideoEncoder) -> None:
        super().__init__()
        self.video_encoder = video_encoder.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "TrepaLoss":
        """With the video encoder in the folder `path`. Raises UserError if there is none."""
        return cls(VideoEncoder.from_pretrained(path))

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the encoder's activations in the backward pass."""
        self.video_encoder.gradient_checkpointing_enable()

    def train(self, mode: bool = True) -> "TrepaLoss":
        """Stays in evaluation mode: the encoder is frozen."""
        return super().train(False)

    def forward(self, decoded: Tensor, frames: Tensor) -> Tensor:
        """decoded, frames: (B, F, 3, H, W) in [-1, 1]. Returns a scalar; gradients reach `decoded` alone."""
        with torch.no_grad():
            true_features = self.features(frames)
        return F.mse_loss(self.features(decoded), true_features)

    def features(self, frames: Tensor) -> Tensor:
        """Unit feature vectors (B, D), float32."""
        return F.normalize(self.video_encoder((frames + 1) / 2).float(), dim=-1)
