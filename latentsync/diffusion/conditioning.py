"""What the U-Net is told beside the sound: mouth mask, masked clip and reference, in training and inference alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from einops import repeat
from torch import Tensor, nn

from latentsync.data.sample import ClipBatch
from latentsync.diffusion.clip_random import ClipRandom
from latentsync.face.mouth_mask import mouth_mask

if TYPE_CHECKING:
    from latentsync.models.autoencoder import FrameAutoencoder


@dataclass(frozen=True)
class KnownLatents:
    """mask: (B, 1, F, h, w), 1 = keep, 0 = to be generated; masked, reference: scaled latents (B, 4, F, h, w)."""

    mask: Tensor
    masked: Tensor
    reference: Tensor

    def stack(self, noisy: Tensor) -> Tensor:
        """U-Net input (B, 13, F, h, w): noisy latents, mask, masked latents, reference latents."""
        return torch.cat([noisy, self.mask, self.masked, self.reference], dim=1)


@dataclass(frozen=True)
class ClipLatents(KnownLatents):
    """target: scaled latents (B, 4, F, h, w) of the clip as it is, which training adds noise to."""

    target: Tensor


class Conditioning(nn.Module):
    """Makes `ClipLatents` of frames, or of the posterior moments that shards may store.

    autoencoder: the frozen VAE, with its posterior sampled, as published. resolution: side R of the faces in pixels.
    """

    mouth_mask: Tensor  # (1, R, R)

    def __init__(self, autoencoder: FrameAutoencoder, resolution: int) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.register_buffer("mouth_mask", mouth_mask(resolution), persistent=False)

    def masked(self, frames: Tensor) -> Tensor:
        """Frames (…, 3, R, R) in [-1, 1] with grey where the mouth is to be generated."""
        return frames * self.mouth_mask.to(frames)

    def outside_mouth(self, frames: Tensor, generated: Tensor) -> Tensor:
        """`frames` where the mask keeps them, `generated` in the mouth; both (…, 3, R, R)."""
        keep = self.mouth_mask.to(frames)
        return frames * keep + generated * (1 - keep)

    def moments(self, frames: Tensor) -> Tensor:
        """Unscaled posterior moments (B, F, 2C, h, w), means then deviations, of frames (B, F, 3, R, R) in [-1, 1]."""
        return torch.cat(self.autoencoder.moments(frames), dim=2)

    @torch.no_grad()
    def encode(self, batch: ClipBatch, draws: ClipRandom) -> ClipLatents:
        """Latents of a training batch: from stored moments if there are any, else from its frames."""
        if batch.target_moments is None:
            assert batch.target is not None
            assert batch.reference is not None
            return self.encode_frames(batch.target, draws, batch.reference)
        assert batch.masked_moments is not None
        assert batch.reference_moments is not None
        return self.drawn([batch.target_moments, batch.masked_moments, batch.reference_moments], draws)

    @torch.no_grad()
    def encode_frames(self, frames: Tensor, draws: ClipRandom, reference: Tensor | None = None) -> ClipLatents:
        """Latents of frames and reference (B, F, 3, R, R) in [-1, 1]; None: the frames are their own reference."""
        parts = [frames, self.masked(frames)] + ([] if reference is None else [reference])
        return self.drawn([self.moments(part) for part in parts], draws)

    def drawn(self, moments: Sequence[Tensor], draws: ClipRandom) -> ClipLatents:
        """Latents drawn from moments (B, F, 2C, h, w) of the frames, the masked frames and the reference (without it
        the frames are their own)."""
        target, masked, *reference = (draws.posterior(one, self.autoencoder) for one in moments)
        return ClipLatents(self.latent_mask(target), masked, reference[0] if reference else target, target)

    def latent_mask(self, latents: Tensor) -> Tensor:
        """The mouth mask by nearest neighbour (every 8th pixel) at the size of `latents`, (B, 1, F, h, w)."""
        small = nn.functional.interpolate(self.mouth_mask[None], size=latents.shape[-2:])  # (1, 1, h, w)
        return repeat(small, "1 1 h w -> b 1 f h w", b=len(latents), f=latents.shape[2]).to(latents)
