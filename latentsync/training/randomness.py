"""Random numbers of a training step, a function of seed, epoch, batch and rank."""

import lightning
import numpy as np
import torch


def step_generator(module: lightning.LightningModule, seed: int, batch_idx: int) -> torch.Generator:
    """A generator on the module's device that depends on (seed, epoch, batch_idx, rank) alone."""
    entropy = (seed, module.current_epoch, batch_idx, module.global_rank)
    state = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device=module.device).manual_seed(state)
