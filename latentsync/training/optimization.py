"""Optimizer and learning-rate schedule of every Lightning module, and the choice of what is trained."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from latentsync.errors import UserError

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]
LRSchedulerFactory = Callable[[Optimizer], LRScheduler]
Network = TypeVar("Network", bound=nn.Module)


def optimizer_config(
    parameters: Iterable[nn.Parameter], optimizer: OptimizerFactory, lr_scheduler: LRSchedulerFactory | None
) -> OptimizerLRScheduler:
    """What `configure_optimizers` returns: the optimizer and, if given, a schedule stepped every step."""
    built = optimizer([parameter for parameter in parameters if parameter.requires_grad])
    if lr_scheduler is None:
        return {"optimizer": built}
    return {"optimizer": built, "lr_scheduler": {"scheduler": lr_scheduler(built), "interval": "step"}}


def select_trainable(module: nn.Module, patterns: list[str]) -> int:
    """Leave only the parameters trainable whose name contains one of `patterns`; ["all"] trains everything.

    The published stage 2 trains ["motion_modules.", "attentions."], the efficient one ["motion_modules.", "attn2."].
    Returns the number of trainable parameters. Raises UserError for a pattern that matches no parameter.
    """
    names = [name for name, _ in module.named_parameters()]
    if patterns == ["all"]:
        patterns = [""]
    for pattern in patterns:
        if not any(pattern in name for name in names):
            raise UserError(
                f"model.trainable: pattern '{pattern}' matches no parameter (names look like '{names[-1]}')"
            )
    if not patterns:
        raise UserError("model.trainable is empty: nothing would be trained; give name patterns, or [all]")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(any(pattern in name for pattern in patterns))
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def freeze(module: Network) -> Network:
    """Evaluation mode and no gradients to the weights; gradients still flow through to the input."""
    return module.eval().requires_grad_(False)
