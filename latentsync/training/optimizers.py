"""Optimizers that need a package of their own."""

from collections.abc import Iterable
from typing import Any

import torch

from latentsync.errors import UserError


def adamw_8bit(
    params: Iterable[Any], lr: float = 1e-5, betas: tuple[float, float] = (0.9, 0.999), weight_decay: float = 0.01
) -> torch.optim.Optimizer:
    """AdamW with its two states in 8 bits each (bitsandbytes; Dettmers et al. 2022): a quarter of AdamW's memory.

    Raises UserError where bitsandbytes is not installed or has no GPU to work on.
    """
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            "optimizer=adamw_8bit needs bitsandbytes: pip install 'latentsync-in-lightning[8bit]'"
        ) from error
    if not torch.cuda.is_available():
        raise UserError("optimizer=adamw_8bit works on an NVIDIA GPU only; use optimizer=adamw")
    return AdamW8bit(params, lr=lr, betas=tuple(betas), weight_decay=weight_decay)
