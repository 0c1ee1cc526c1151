"""Optimizer and learning-rate schedule of every Lightning module, and the choice of what is trained."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from latentsync.errors import UserError

Group = dict[str, Any]  # "params", and the optimizer's settings for them
OptimizerFactory = Callable[[Iterable[nn.Parameter] | Iterable[Group]], Optimizer]
LRSchedulerFactory = Callable[[Optimizer], LRScheduler]
Network = TypeVar("Network", bound=nn.Module)


def optimizer_config(
    parameters: Iterable[nn.Parameter] | list[Group],
    optimizer: OptimizerFactory,
    lr_scheduler: LRSchedulerFactory | None,
) -> OptimizerLRScheduler:
    """What `configure_optimizers` returns: the optimizer and, if given, a schedule stepped every step.

    parameters: of which those that are trained are taken, or groups of trained ones.
    """
    trained: Any = [entry for entry in parameters if isinstance(entry, dict) or entry.requires_grad]
    built = optimizer(trained)
    if lr_scheduler is None:
        return {"optimizer": built}
    return {"optimizer": built, "lr_scheduler": {"scheduler": lr_scheduler(built), "interval": "step"}}


def parameter_groups(module: nn.Module, rules: list[dict[str, Any]]) -> list[Group]:
    """The trained parameters in groups with settings of their own.

    rules: each {"match": part of a name, any optimizer setting: value}, e.g. {"match": "motion_modules.", "lr": 2e-5}
    or {"match": "norm", "weight_decay": 0.0}; a parameter follows the first rule that matches its name, or none.
    Schedules scale each group's own rate. Raises UserError for a rule that matches no trained parameter.
    """
    rest: Group = {"params": []}
    groups: list[Group] = [{**{k: v for k, v in rule.items() if k != "match"}, "params": []} for rule in rules]
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            first = (group for group, rule in zip(groups, rules) if rule.get("match", "") in name)
            next(first, rest)["params"].append(parameter)
    for group, rule in zip(groups, rules):
        if "match" not in rule or not group["params"]:
            raise UserError(f"model.parameter_groups: {rule} matches no trained parameter that no rule before it does")
    return [group for group in (rest, *groups) if group["params"]]


def dtype_of(name: str) -> torch.dtype:
    """The type called "float32", "bfloat16" or "float16". Raises UserError for another name."""
    if name not in ("float32", "bfloat16", "float16"):
        raise UserError(f"model.frozen_dtype={name}: give float32, bfloat16 or float16")
    return getattr(torch, name)


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


def check_not_dead(unet: nn.Module) -> None:
    """Raise UserError when the first or last convolution is zero and frozen: the output is 0, and so is each gradient.

    A new U-Net starts so; with all of it trained, the two soon leave zero.
    """
    ends = {name: p for name, p in unet.named_parameters() if name in ("conv_in.weight", "conv_out.weight")}
    dead = [name for name, parameter in ends.items() if not parameter.requires_grad and not parameter.any()]
    if dead:
        raise UserError(
            f"model.trainable: {' and '.join(dead)} are zero and frozen, so nothing would ever be learned; give "
            "weights to start from, model.unet.weights=runs/stage1/checkpoints/last.ckpt (or latentsync-1.5, …), or "
            "train [all]"
        )


def freeze(module: Network, dtype: torch.dtype = torch.float32) -> Network:
    """Evaluation mode, no gradients to the weights, which are kept as `dtype`; gradients still flow to the input."""
    for part in module.modules():
        # Not `Module.to`: that swaps tensors in place, which shapes without memory (plan=true) refuse.
        for name, parameter in part._parameters.items():
            if parameter is not None and parameter.is_floating_point() and parameter.dtype != dtype:
                part._parameters[name] = nn.Parameter(parameter.detach().to(dtype))
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.is_floating_point():
                part._buffers[name] = buffer.to(dtype)
    return module.eval().requires_grad_(False)
