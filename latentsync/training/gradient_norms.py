"""How large the gradients of each part of the trained network are."""

from collections.abc import Mapping

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer


class GradientNorms(Callback):
    """Logs gradients/<part>, the L2 norm before clipping, and gradients/all, with the trainer's `log_every_n_steps`.

    parts: name -> part of a parameter's name; the first that matches takes the parameter, the rest is "other". Parts
    with nothing to train do not show.
    """

    def __init__(self, parts: Mapping[str, str]) -> None:
        self.parts = dict(parts)

    def on_before_optimizer_step(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, optimizer: Optimizer
    ) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            pl_module.log_dict({f"gradients/{name}": norm for name, norm in self.norms(pl_module).items()})

    def norms(self, module: lightning.LightningModule) -> dict[str, Tensor]:
        """L2 norm of the gradients by part, and of them all."""
        groups: dict[str, list[Tensor]] = {}
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                part = next((part for part, match in self.parts.items() if match in name), "other")
                groups.setdefault(part, []).append(parameter.grad)
        found = {part: torch.nn.utils.get_total_norm(gradients) for part, gradients in groups.items()}
        if found:
            found["all"] = torch.stack([norm.float() for norm in found.values()]).norm()
        return found
