"""Training noise that is partly the same in all frames of a clip (PYoCo, arXiv 2305.10474)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from latentsync.errors import UserError


def mixed_noise(shape: Sequence[int], alpha: float, generator: torch.Generator) -> Tensor:
    """ε = ε_shared·√(α²/(1+α²)) + ε_frame·√(1/(1+α²)), of unit variance, on the generator's device.

    shape: (B, C, F, h, w), shared over F. Two frames correlate by α²/(1+α²): α = 0 gives independent frames, the
    published α = 1 gives ½. Raises UserError for a negative α.
    """
    if alpha < 0:
        raise UserError(f"mixed_noise_alpha={alpha} is negative; give 0 for independent frames, 1 as published")
    batch, channels, _, height, width = shape
    device = generator.device
    shared = torch.randn((batch, channels, 1, height, width), generator=generator, device=device)
    own = torch.randn(tuple(shape), generator=generator, device=device)
    return (alpha * shared + own) / (1 + alpha**2) ** 0.5
