"""Frames to scaled latents and back, through a frozen diffusers AutoencoderKL."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latentsync.errors import UserError
from latentsync.models.weight_files import fingerprint, folder_config, folder_weights, load_strict

STABLE_DIFFUSION: dict[str, Any] = {  # the autoencoder of SD 1.5, as diffusers configures it
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 256,
}
# A decoder that is recomputed in the backward pass keeps one piece's activations at a time, the most of a step's peak.
_RECOMPUTED_FRAMES = 4
# Attention of the middle block as diffusers named it before version 0.17.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_ATTENTION_KEY = re.compile(r"(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")


class FrameAutoencoder(nn.Module):
    """The VAE of a latent diffusion model, applied to each frame of a clip.

    vae: AutoencoderKL, or AutoencoderTiny (for previews: fast, less exact, without spread); scaled latents are
    (z − shift_factor) · scaling_factor with both from its config (0 and 0.18215 for Stable Diffusion 1.5).
    frames_per_batch: frames encoded or decoded at a time; where activations are recomputed, at most 4 are decoded.
    """

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny, frames_per_batch: int = 16) -> None:
        super().__init__()
        self.vae, self.frames_per_batch = vae, frames_per_batch
        self.scale = float(vae.config["scaling_factor"])
        self.shift = float(vae.config["shift_factor"] or 0.0)
        self.gradient_checkpointing = False
        self.origin: dict[str, str] | None = None  # where it was loaded from, and the fingerprint of its weights

    @classmethod
    def from_pretrained(cls, path: str | Path, frames_per_batch: int = 16) -> "FrameAutoencoder":
        """Load a diffusers folder (safetensors or .bin, old or new attention names), in float32, every key used.

        An AutoencoderKL, or, where config.json says so, an AutoencoderTiny of 4 latent channels (TAESD).
        Raises UserError if there is none, or if its weights are damaged or lack, exceed or misshape a key.
        """
        if not (Path(path) / "config.json").is_file():
            raise UserError(
                f"autoencoder '{path}' is missing; get it with: python -m latentsync.weights fetch sd-vae-ft-mse"
            )
        config = folder_config(Path(path))
        tiny = config.get("_class_name") == "AutoencoderTiny"
        if tiny and config.get("latent_channels", 4) != 4:
            raise UserError(
                f"autoencoder '{path}': {config['latent_channels']} latent channels; the U-Net takes 4 (TAESD)"
            )
        with torch.device("meta"):
            vae: AutoencoderKL | AutoencoderTiny = (AutoencoderTiny if tiny else AutoencoderKL).from_config(config)
        load_strict(vae, modern_attention(folder_weights(Path(path))), f"autoencoder '{path}'", assign=True)
        made = cls(vae.float(), frames_per_batch).eval()
        made.origin = {"source": str(path), "fingerprint": fingerprint(vae)}
        return made

    def enable_gradient_checkpointing(self) -> None:
        """Recompute the decoder's activations, a chunk of frames at a time, in the backward pass."""
        self.gradient_checkpointing = True

    def encode(self, frames: Tensor, generator: torch.Generator | None = None, sample: bool = True) -> Tensor:
        """Scaled latents (B, C, F, h, w) of frames (B, F, 3, H, W) in [-1, 1]: a posterior sample, or its mean."""
        moments = torch.cat(self.moments(frames), dim=2)
        return self.sample_moments(moments, generator, sample)

    def moments(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, F, C, h, w) of the unscaled posterior of frames (B, F, 3, H, W) in [-1, 1]."""
        chunks = frames.flatten(0, 1).split(self.frames_per_batch)
        encoded = [self.vae.encode(chunk.to(self.vae.dtype)) for chunk in chunks]
        if isinstance(self.vae, AutoencoderTiny):
            latents = torch.cat([one.latents for one in encoded]).unflatten(0, frames.shape[:2])
            return latents, torch.zeros_like(latents)
        posteriors = [one.latent_dist for one in encoded]
        mean = torch.cat([posterior.mean for posterior in posteriors]).unflatten(0, frames.shape[:2])
        return mean, torch.cat([posterior.std for posterior in posteriors]).unflatten(0, frames.shape[:2])

    def sample_moments(self, moments: Tensor, generator: torch.Generator | None = None, sample: bool = True) -> Tensor:
        """Scaled latents (B, C, F, h, w) drawn from moments (B, F, 2C, h, w): means, then standard deviations."""
        mean, std = moments.chunk(2, dim=2)
        if sample:
            mean = mean + std * torch.randn(std.shape, generator=generator, device=std.device, dtype=std.dtype)
        return rearrange((mean - self.shift) * self.scale, "b f c h w -> b c f h w")

    def decode(self, latents: Tensor) -> Tensor:
        """Frames (B, F, 3, H, W), about [-1, 1], of scaled latents (B, C, F, h, w). Gradients flow to the latents."""
        flat = rearrange(latents, "b c f h w -> (b f) c h w") / self.scale + self.shift
        recomputes = self.gradient_checkpointing and torch.is_grad_enabled()
        size = min(self.frames_per_batch, _RECOMPUTED_FRAMES) if recomputes else self.frames_per_batch
        decode = partial(checkpoint, self._decode, use_reentrant=False) if recomputes else self._decode
        frames = torch.cat([decode(chunk) for chunk in flat.to(self.vae.dtype).split(size)])
        return frames.unflatten(0, (latents.shape[0], latents.shape[2]))

    def _decode(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents).sample


def modern_attention(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Old attention keys under their new names; 1 × 1 convolutions (O, I, 1, 1) there become matrices (O, I)."""
    out = {}
    for key, value in state.items():
        found = OLD_ATTENTION_KEY.fullmatch(key)
        if found:
            key = f"{found[1]}.{OLD_ATTENTION[found[2]]}.{found[3]}"
            value = value[:, :, 0, 0] if value.ndim == 4 else value
        out[key] = value
    return out
