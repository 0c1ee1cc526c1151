"""A loss of ours, not of the published system: one-step clean latents against the true ones, where the mouth goes."""

from torch import Tensor, nn


class CleanLatentsLoss(nn.Module):
    """mean |ẑ0 − z0| over the generated region.

    The noise MSE says little about the clean latents at large timesteps, where audio decides the mouth; this term does,
    without decoding a pixel. It lets the small demo network learn to listen in minutes.
    """

    def forward(self, clean_pred: Tensor, clean: Tensor, mask: Tensor) -> Tensor:
        """clean_pred, clean: scaled latents (B, C, F, h, w); mask: (B, 1, F, h, w), 0 = generated. Returns a scalar."""
        generated = (1 - mask.float()).expand_as(clean_pred)
        error = (clean_pred.float() - clean.float()).abs() * generated
        return error.sum() / generated.sum().clamp(min=1)
