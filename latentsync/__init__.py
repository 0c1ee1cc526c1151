"""LatentSync in Lightning: audio-driven lip sync with latent diffusion (arXiv 2412.09262)."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentsync.models.unet import UNet3DConditionModel

__version__ = "0.1.0"


def load_unet(weights: "str | Path" = "demo") -> "UNet3DConditionModel":
    """The U-Net of a known name, a model's folder, a published file or a training checkpoint, in evaluation mode.

    Raises UserError for what holds none.
    """
    from latentsync.weights.bundle import load_unet  # here: importing the package costs nothing

    return load_unet(weights)
