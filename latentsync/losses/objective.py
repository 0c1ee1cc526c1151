"""The training objective: a weighted sum of losses, of which those of weight 0 are never built (LatentSync, Eq. 6)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.losses.loss import Loss, LossInputs, Needs
from latentsync.losses.noise import NoiseLoss

LossFactory = Callable[[], Loss]


@dataclass
class ObjectiveResult:
    """total: the scalar to minimise; raw, weighted: each term by name, before and after its weight."""

    total: Tensor
    raw: dict[str, Tensor]
    weighted: dict[str, Tensor]


class Objective(nn.Module):
    """L = Σ weight · loss.

    terms: NAME=weight and NAME_loss=what builds the loss, called only if its weight is above 0. The published stage 2
    has noise 1, perceptual 0.1, trepa 10 and sync 0.05. noise is there without being named.
    Raises UserError for a negative weight, for all weights 0, and for a weight above 0 with nothing to build it.
    """

    def __init__(self, noise: float = 1.0, noise_loss: LossFactory = NoiseLoss, **terms: Any) -> None:
        super().__init__()
        given: dict[str, Any] = {"noise": noise, "noise_loss": noise_loss, **terms}
        factories = {name.removesuffix("_loss"): given.pop(name) for name in list(given) if name.endswith("_loss")}
        self.names = tuple({**given, **factories})  # those of weight 0 as well
        for name, weight in given.items():
            if weight < 0:
                raise UserError(f"objective.{name}={weight}: a weight cannot be negative")
            if weight > 0 and factories.get(name) is None:
                raise UserError(f"objective.{name}={weight}, but objective.{name}_loss says nothing to build it from")
        self.weights: dict[str, float] = {name: weight for name, weight in given.items() if weight > 0}
        if not self.weights:
            raise UserError("objective: every weight is 0, so there is nothing to learn")
        self.losses = nn.ModuleDict({name: factories[name]() for name in self.weights})

    @property
    def needs(self) -> Needs:
        """What the neediest of the losses has to see."""
        order: tuple[Needs, ...] = ("latents", "frames", "clip")
        return max((loss.needs for loss in self.losses.values()), key=order.index)  # type: ignore[misc]

    def forward(
        self, inputs: LossInputs, decode: Callable[[Tensor], Tensor], shown: Tensor | None = None
    ) -> ObjectiveResult:
        """Evaluate every term.

        decode: scaled latents (B, 4, F, h, w) to frames (B, F, 3, H, W); called once at most, and on no more frames
        than a loss needs. shown: numbers (B, N) of the frames that losses of frames look at, None = all.
        Raises UserError if frames are needed and the data have none.
        """
        seen = self._seen(inputs, decode, shown)
        raw = {name: loss(seen[loss.needs]) for name, loss in self.losses.items()}  # type: ignore[index]
        weighted = {name: self.weights[name] * value for name, value in raw.items()}
        return ObjectiveResult(sum(weighted.values(), start=raw[next(iter(raw))].new_zeros(())), raw, weighted)

    def _seen(
        self, inputs: LossInputs, decode: Callable[[Tensor], Tensor], shown: Tensor | None
    ) -> dict[Needs, LossInputs]:
        """What a loss is shown, by what it needs."""
        if self.needs == "latents":
            return {"latents": inputs}
        if inputs.frames is None:
            raise UserError("the objective compares pixels, but the data have none; set data.pixels=true")
        if self.needs == "frames" and shown is not None:
            some = inputs.at(shown)
            return {"latents": inputs, "frames": replace(some, decoded=decode(some.clean_pred))}
        whole = replace(inputs, decoded=decode(inputs.clean_pred))
        return {"latents": inputs, "frames": whole if shown is None else whole.at(shown), "clip": whole}
