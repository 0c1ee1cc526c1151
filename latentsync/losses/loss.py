"""What a loss is: a module that says what it needs to see, and makes one number of it."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

Needs = Literal["latents", "frames", "clip"]


@dataclass(frozen=True)
class LossInputs:
    """What there is to look at.

    model_pred, target: what the U-Net predicts and what it should, (B, 4, F, h, w): noise, or velocity where the
    schedule says so; clean_pred, clean: one-step and true scaled latents, the same shape; mask:
    (B, 1, F, h, w), 0 = generated; mel: (B, 1, 80, 52); frames: true ones, (B, F, 3, H, W) in [-1, 1], None where the
    data have no pixels; decoded: what `clean_pred` looks like, the same shape, for losses that need frames or a clip.
    """

    model_pred: Tensor
    target: Tensor
    clean_pred: Tensor
    clean: Tensor
    mask: Tensor
    mel: Tensor
    frames: Tensor | None = None
    decoded: Tensor | None = None

    def pixels(self) -> tuple[Tensor, Tensor]:
        """`decoded` and `frames`, for a loss that needs them and therefore has them."""
        assert self.decoded is not None
        assert self.frames is not None
        return self.decoded, self.frames

    def at(self, numbers: Tensor) -> "LossInputs":
        """Of each clip the frames with these numbers (B, N); the sound stays as it is."""
        rows = torch.arange(len(numbers), device=numbers.device)[:, None]
        chosen = {
            name: getattr(self, name).transpose(1, 2)[rows, numbers].transpose(1, 2)
            for name in ("model_pred", "target", "clean_pred", "clean", "mask")
        }
        for name in ("frames", "decoded"):
            if getattr(self, name) is not None:
                chosen[name] = getattr(self, name)[rows, numbers]
        return replace(self, **chosen)


class Loss(nn.Module):
    """One term of the objective; it does not know its weight. Its networks are frozen and stay in evaluation mode.

    needs: "latents": nothing decoded; "frames": some decoded frames of each clip and the true ones; "clip": all of
    them, in order. A loss with a network may have a classmethod `untrained`, called with the arguments of the
    configuration: the loss in its full size without reading weights; `plan=true` asks it.
    """

    needs: Needs = "latents"

    def forward(self, inputs: LossInputs) -> Tensor:
        """A scalar."""
        raise NotImplementedError

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the activations of the loss's network in the backward pass; a loss without one has none."""

    def train(self, mode: bool = True) -> "Loss":
        """Stays in evaluation mode."""
        return super().train(False)
