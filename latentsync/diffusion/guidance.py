"""Classifier-free guidance on the audio (Ho & Salimans 2022)."""

import torch
from torch import Tensor

from latentsync.errors import UserError

MAX_GUIDANCE_SCALE = 10.0


def check_guidance_scale(guidance_scale: float) -> None:
    """Raise UserError unless 0 ≤ guidance_scale ≤ 10."""
    if not 0 <= guidance_scale <= MAX_GUIDANCE_SCALE:
        raise UserError(f"guidance_scale={guidance_scale} is out of range; give 0 to {MAX_GUIDANCE_SCALE:g} (1 = off)")


def unconditional(audio_tokens: Tensor) -> Tensor:
    """What stands for "no audio": tokens of zeros, as published."""
    return torch.zeros_like(audio_tokens)


def guide(uncond: Tensor, cond: Tensor, guidance_scale: float) -> Tensor:
    """uncond + s · (cond − uncond), of predictions of noise or velocity."""
    return uncond + guidance_scale * (cond - uncond)
