"""The training objective: a weighted sum of losses, of which those of weight 0 are never built (LatentSync, Eq. 6)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.losses.clean_latents import CleanLatentsLoss
from latentsync.losses.noise import NoiseLoss

LossFactory = Callable[[], nn.Module]


@dataclass
class ObjectiveInputs:
    """What the losses look at.

    noise_pred, noise: (B, 4, F, h, w); clean_pred, clean: one-step and true scaled latents, the same shape; mask:
    (B, 1, F, h, w), 0 = generated; decoded, frames: (B, F, 3, H, W) in [-1, 1], or None if no loss needs pixels;
    mel: (B, 1, 80, 52); shown: numbers (B, N) of the frames of `decoded` that LPIPS looks at, None = all.
    """

    noise_pred: Tensor
    noise: Tensor
    clean_pred: Tensor
    clean: Tensor
    mask: Tensor
    decoded: Tensor | None
    frames: Tensor | None
    mel: Tensor
    shown: Tensor | None = None


@dataclass
class ObjectiveResult:
    """total: the scalar to minimise; raw, weighted: each term by name, before and after its weight."""

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]


class Objective(nn.Module):
    """L = Σ weight · loss.

    noise, perceptual, trepa, sync, clean_latents: the weights; the published stage 2 has 1, 0.1, 10, 0.05 and 0.
    perceptual_loss, trepa_loss, sync_loss: what builds the loss, called only if its weight is above 0.
    Raises UserError for a negative weight, for all weights 0, and for a weight above 0 with nothing to build it.
    """

    def __init__(
        self,
        noise: float = 1.0,
        perceptual: float = 0.0,
        trepa: float = 0.0,
        sync: float = 0.0,
        clean_latents: float = 0.0,
        perceptual_loss: LossFactory | None = None,
        trepa_loss: LossFactory | None = None,
        sync_loss: LossFactory | None = None,
    ) -> None:
        super().__init__()
        weights = {
            "noise": noise, "perceptual": perceptual, "trepa": trepa, "sync": sync, "clean_latents": clean_latents,
        }  # fmt: skip
        factories: dict[str, LossFactory | None] = {
            "noise": NoiseLoss, "perceptual": perceptual_loss, "trepa": trepa_loss, "sync": sync_loss,
            "clean_latents": CleanLatentsLoss,
        }  # fmt: skip
        for name, weight in weights.items():
            if weight < 0:
                raise UserError(f"objective.{name}={weight}: a weight cannot be negative")
            if weight > 0 and factories[name] is None:
                raise UserError(f"objective.{name}={weight}, but objective.{name}_loss says nothing to build it from")
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        if not self.weights:
            raise UserError("objective: every weight is 0, so there is nothing to learn")
        self.losses = nn.ModuleDict({name: factories[name]() for name in self.weights})  # type: ignore[misc]

    @property
    def needs_pixels(self) -> bool:
        """Whether a loss looks at decoded frames."""
        return "perceptual" in self.weights or self.needs_whole_clips

    @property
    def needs_whole_clips(self) -> bool:
        """Whether a loss looks at all decoded frames of a clip at once."""
        return "trepa" in self.weights or ("sync" in self.losses and not self.losses["sync"].latent_space)

    def enable_gradient_checkpointing(self, names: Iterable[str] = ("perceptual", "trepa", "sync")) -> None:
        """Recompute the activations of these losses' networks, of those that are built, in the backward pass."""
        for name in self.weights.keys() & set(names):
            self.losses[name].enable_gradient_checkpointing()  # type: ignore[operator]

    def forward(self, inputs: ObjectiveInputs) -> ObjectiveResult:
        """Evaluate every term. Raises UserError if frames are needed and the data have none."""
        if self.needs_pixels and inputs.frames is None:
            raise UserError("the objective compares pixels, but the data have none; set data.pixels=true")
        raw = {name: self._term(name, loss, inputs) for name, loss in self.losses.items()}
        weighted = {name: self.weights[name] * value for name, value in raw.items()}
        return ObjectiveResult(sum(weighted.values(), start=raw[next(iter(raw))].new_zeros(())), raw, weighted)

    def _term(self, name: str, loss: nn.Module, inputs: ObjectiveInputs) -> Tensor:
        if name == "noise":
            return loss(inputs.noise_pred, inputs.noise)
        if name == "clean_latents":
            return loss(inputs.clean_pred, inputs.clean, inputs.mask)
        if name == "sync":
            return loss(inputs.clean_pred if loss.latent_space else inputs.decoded, inputs.mel)
        if name == "perceptual" and inputs.shown is not None:
            rows = torch.arange(len(inputs.shown), device=inputs.shown.device)[:, None]
            return loss(inputs.decoded[rows, inputs.shown], inputs.frames[rows, inputs.shown])  # type: ignore[index]
        return loss(inputs.decoded, inputs.frames)
