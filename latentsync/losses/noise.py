"""The noise loss: mean squared error of the predicted noise (DDPM, Eq. 14)."""

import torch.nn.functional as F
from torch import Tensor, nn


class NoiseLoss(nn.Module):
    """MSE(ε̂, ε) in float32."""

    def forward(self, noise_pred: Tensor, noise: Tensor) -> Tensor:
        """noise_pred, noise: (B, C, F, h, w). Returns a scalar."""
        return F.mse_loss(noise_pred.float(), noise.float())
