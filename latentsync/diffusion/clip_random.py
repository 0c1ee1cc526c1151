"""The random numbers of a batch, drawn clip by clip: other batches, other ranks, a resumed run, the same numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentsync.diffusion.mixed_noise import mixed_noise

if TYPE_CHECKING:  # its network comes from a library that takes seconds to import
    from latentsync.models.autoencoder import FrameAutoencoder


class ClipRandom:
    """One generator a clip; each draw takes from every one of them, so their order is part of the numbers.

    The order in training: posteriors of target, masked and reference, noise, timesteps, dropout, shown frames. A draw
    whose setting makes it needless takes nothing.
    """

    def __init__(self, generators: Iterable[torch.Generator]) -> None:
        self.generators = list(generators)

    @classmethod
    def of(cls, keys: Sequence[str], seed: int, epoch: int = 0, device: torch.device | str = "cpu") -> ClipRandom:
        """Of the clips with these keys: each depends on (seed, epoch, key) alone, not on the batch or rank it is in."""
        return cls(torch.Generator(device).manual_seed(_number(f"{seed}/{epoch}/{key}")) for key in keys)

    def posterior(self, moments: Tensor, autoencoder: FrameAutoencoder) -> Tensor:
        """Scaled latents (B, C, F, h, w) out of posterior moments (B, F, 2C, h, w)."""
        pairs = zip(moments, self.generators, strict=True)
        return torch.cat([autoencoder.sample_moments(clip[None], own) for clip, own in pairs])

    def noise(self, latents: Tensor, alpha: float) -> Tensor:
        """Mixed noise in the shape of latents (B, C, F, h, w), float32."""
        return torch.cat([mixed_noise((1, *latents.shape[1:]), alpha, own) for own in self.generators])

    def timesteps(self, num_timesteps: int, shift: float = 1.0) -> Tensor:
        """(B,) int64 in [0, num_timesteps), one for the whole of a clip: uniform u, moved to s·u / (1 + (s − 1)·u).

        shift: s; 1 leaves them uniform, as published, more means more noise (Esser 2024, Eq. 23).
        """
        drawn = [torch.randint(0, num_timesteps, (1,), generator=g, device=g.device) for g in self.generators]
        share = torch.cat(drawn).double() / num_timesteps
        return (num_timesteps * shift * share / (1 + (shift - 1) * share)).round().long().clamp(max=num_timesteps - 1)

    def dropout(self, audio_tokens: Tensor, probability: float) -> Tensor:
        """Audio tokens (B, F, L, D), those of a clip zeroed with this probability: guidance's unconditional input."""
        if probability == 0:
            return audio_tokens
        return audio_tokens * (self._uniform(1) >= probability).to(audio_tokens)[..., None, None]

    def shown_frames(self, num_frames: int, count: int | None) -> Tensor | None:
        """Numbers (B, count) of different frames out of `num_frames`, in order; None: all of them."""
        if count is None or count >= num_frames:
            return None
        return self._uniform(num_frames).argsort(1)[:, :count].sort(1).values

    def _uniform(self, count: int) -> Tensor:
        """(B, count) in [0, 1)."""
        return torch.stack([torch.rand(count, generator=own, device=own.device) for own in self.generators])


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
