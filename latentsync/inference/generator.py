"""Windows of aligned faces through the networks: crops and sound in, faces that speak out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from latentsync.diffusion.clip_random import ClipRandom
from latentsync.diffusion.conditioning import Conditioning
from latentsync.diffusion.sampler import Sampler, initial_noise
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.diffusion.scheduler_names import DDIM
from latentsync.diffusion.schedulers import make_scheduler
from latentsync.errors import UserError
from latentsync.inference.crop_moments import CropMoments
from latentsync.inference.windows import pad_to

if TYPE_CHECKING:
    from latentsync.models.autoencoder import FrameAutoencoder
    from latentsync.models.unet import UNet3DConditionModel

StepProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class WindowInput:
    """One window: crops, n images (R, R, 3) uint8 RGB; audio_tokens (n, L, D); noise: `start_noise`; generator: of the
    autoencoder's posterior, on the device."""

    crops: Sequence[np.ndarray]
    audio_tokens: Tensor
    noise: Tensor
    generator: torch.Generator


class WindowGenerator:
    """Generates the mouths of windows of up to `num_frames` aligned faces.

    resolution: side R of the crops in pixels. num_frames: what the network always sees; fewer faces are filled up
    with the last one. dtype: of the networks' arithmetic. The networks are put into evaluation mode on `device`.
    """

    def __init__(
        self,
        unet: UNet3DConditionModel,
        autoencoder: FrameAutoencoder,
        resolution: int,
        num_frames: int = 16,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        schedule: NoiseSchedule | None = None,
    ) -> None:
        self.resolution, self.num_frames = resolution, num_frames
        self.device, self.dtype = torch.device(device), dtype
        network: nn.Module = unet
        if unet.dtype != dtype:  # diffusers warns at every cast, needed or not
            network = network.to(dtype)
        # Convolutions run faster with the channels last, on the CPU and on GPUs; only the rounding differs.
        self.unet = network.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.autoencoder = autoencoder.to(device=self.device, dtype=dtype).eval()
        self.autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._conditioning = Conditioning(self.autoencoder, resolution).to(self.device)
        self._moments = CropMoments(self._conditioning)
        self._schedule = schedule or NoiseSchedule()

    def start_noise(self, seed: int) -> Tensor:
        """The noise every window starts from, (1, 4, F, h, w): drawn for one frame, the same for all (as published)."""
        side = self.resolution // 8
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same numbers whatever the device
        shape = (1, 4, self.num_frames, side, side)
        noise = initial_noise(shape, generator, self._schedule.standardize_start_noise)
        return noise.to(self.device, self.dtype)

    @torch.inference_mode()
    def generate(
        self,
        windows: Sequence[WindowInput],
        num_inference_steps: int,
        guidance_scale: float,
        progress: StepProgress | None = None,
        scheduler: str = DDIM,
        feature_reuse: int = 1,
        guidance_start: float = 0.0,
    ) -> list[list[np.ndarray]]:
        """Faces for each window's crops: generated in the mouth mask, the crop elsewhere. Windows share each step.

        A window's faces do not depend on what else is in the batch. progress: told (steps done, steps) after each step.
        scheduler: see `diffusion.schedulers`; feature_reuse, guidance_start: see `Sampler`. Raises UserError when the
        network's answer is not a number.
        """
        crops = [crop for window in windows for crop in pad_to(window.crops, self.num_frames)]
        flat = self._to_frames(crops)
        clips = (len(windows), self.num_frames)
        tokens = torch.stack([torch.stack(pad_to(list(w.audio_tokens), self.num_frames)) for w in windows])
        # The frames themselves are the reference, as published; each window draws its own posterior samples.
        moments = [part.unflatten(0, clips) for part in self._moments(crops, flat)]
        known = self._conditioning.drawn(moments, ClipRandom(window.generator for window in windows))
        sampler = Sampler(self.unet, make_scheduler(scheduler, self._schedule))
        latents = sampler(
            torch.cat([window.noise for window in windows]),
            known,
            tokens.to(self.device, self.dtype),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            progress=progress,
            generator=[window.generator for window in windows],
            feature_reuse=feature_reuse,
            guidance_start=guidance_start,
        )
        pixels = self.autoencoder.decode(latents)  # (B, F, 3, R, R)
        if not torch.isfinite(pixels).all():
            raise UserError("weights: the network's answer is not a number; try precision=32, or other weights")
        blended = self._to_images(self._conditioning.outside_mouth(flat.unflatten(0, clips), pixels))
        return [list(images)[: len(window.crops)] for images, window in zip(blended, windows)]

    def _to_frames(self, crops: Sequence[np.ndarray]) -> Tensor:
        """n images (R, R, 3) uint8 to (n, 3, R, R) in [-1, 1]."""
        stacked = torch.from_numpy(np.stack(crops)).to(self.device, self.dtype)
        return rearrange(stacked, "f h w c -> f c h w") / 127.5 - 1

    def _to_images(self, frames: Tensor) -> np.ndarray:
        """(B, F, 3, R, R) in [-1, 1] to (B, F, R, R, 3) uint8."""
        levels = ((frames.float().clamp(-1, 1) + 1) * 127.5).round().byte()
        return rearrange(levels, "b f c h w -> b f h w c").contiguous().cpu().numpy()


def posterior_generator(seed: int, window_index: int, device: torch.device | str) -> torch.Generator:
    """The random numbers of one window: they depend on seed and window alone, not on what was generated before."""
    state = int(np.random.SeedSequence((seed, window_index)).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device=device).manual_seed(state)
