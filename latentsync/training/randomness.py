"""Random numbers of a training step, a function of seed, epoch and clip: other runs, other ranks, the same numbers."""

import hashlib
from collections.abc import Callable, Sequence

import lightning
import numpy as np
import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator]


def step_generator(module: lightning.LightningModule, seed: int, batch_idx: int) -> torch.Generator:
    """A generator on the module's device that depends on (seed, epoch, batch_idx, rank) alone."""
    entropy = (seed, module.current_epoch, batch_idx, module.global_rank)
    state = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device=module.device).manual_seed(state)


def clip_generators(device: torch.device, seed: int, epoch: int, keys: Sequence[str]) -> list[torch.Generator]:
    """One generator a clip, which depends on (seed, epoch, key) alone: not on the batch or the rank the clip is in."""
    return [torch.Generator(device).manual_seed(_number(f"{seed}/{epoch}/{key}")) for key in keys]


def each_clip(draw: Callable[[Tensor, torch.Generator], Tensor], batch: Tensor, generators: Generators) -> Tensor:
    """`draw(batch, generator)`: clip by clip, each with its own generator, or for the whole batch from one."""
    if isinstance(generators, torch.Generator):
        return draw(batch, generators)
    return torch.cat([draw(clip[None], generator) for clip, generator in zip(batch, generators, strict=True)])


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
