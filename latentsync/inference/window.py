"""One window of aligned faces through the networks: crops and sound in, faces that speak out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from latentsync.diffusion.sampler import Sampler, initial_noise
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError
from latentsync.face.mouth_mask import mouth_mask
from latentsync.inference.plan import pad_to
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
    """Generates the mouths of up to `num_frames` aligned faces at once.

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
        self.unet = network.to(self.device).eval()
        self.autoencoder = autoencoder.to(device=self.device, dtype=dtype).eval()
        self._sampler = Sampler(self.unet, (schedule or NoiseSchedule()).scheduler())
        self._keep = mouth_mask(resolution).to(self.device, dtype)  # (1, R, R)

    def start_noise(self, seed: int) -> Tensor:
        """The noise every window starts from, (1, 4, F, h, w): drawn for one frame, the same for all (as published)."""
        side = self.resolution // 8
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same numbers whatever the device
        return initial_noise((1, 4, self.num_frames, side, side), generator).to(self.device, self.dtype)

    def generate(
        self,
        windows: Sequence[WindowInput],
        num_inference_steps: int,
        guidance_scale: float,
        progress: StepProgress | None = None,
    ) -> list[list[np.ndarray]]:
        """`__call__` for each window."""
        return [
            self(
                window.crops, window.audio_tokens, window.noise, window.generator,
                num_inference_steps, guidance_scale, progress,
            )
            for window in windows
        ]  # fmt: skip

    @torch.inference_mode()
    def __call__(
        self,
        crops: Sequence[np.ndarray],
        audio_tokens: Tensor,
        noise: Tensor,
        generator: torch.Generator,
        num_inference_steps: int,
        guidance_scale: float,
        progress: StepProgress | None = None,
    ) -> list[np.ndarray]:
        """Faces for `crops`, n ≤ num_frames images (R, R, 3) uint8 RGB: generated in the mouth mask, crop elsewhere.

        audio_tokens: (n, L, D). noise: `start_noise`. generator: of the autoencoder's posterior, on this device.
        progress: told (steps done, steps) after each. Raises UserError when the network's answer is not a number.
        """
        frames = self._to_frames(pad_to(crops, self.num_frames))  # (1, F, 3, R, R)
        tokens = torch.stack(pad_to(list(audio_tokens), self.num_frames))[None]  # (1, F, L, D)
        reference = self.autoencoder.encode(frames, generator)  # the frames themselves are the reference, as published
        masked = self.autoencoder.encode(frames * self._keep, generator)
        latents = self._sampler(
            noise,
            self._latent_mask(reference),
            masked,
            reference,
            tokens.to(self.device, self.dtype),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            progress=progress,
        )
        pixels = self.autoencoder.decode(latents)  # (1, F, 3, R, R)
        if not torch.isfinite(pixels).all():
            raise UserError("weights: the network's answer is not a number; try precision=32, or other weights")
        blended = frames * self._keep + pixels * (1 - self._keep)
        return list(self._to_images(blended))[: len(crops)]

    def _to_frames(self, crops: Sequence[np.ndarray]) -> Tensor:
        """F images (R, R, 3) uint8 to (1, F, 3, R, R) in [-1, 1]."""
        stacked = torch.from_numpy(np.stack(crops)).to(self.device, self.dtype)
        return rearrange(stacked, "f h w c -> 1 f c h w") / 127.5 - 1

    def _to_images(self, frames: Tensor) -> np.ndarray:
        """(1, F, 3, R, R) in [-1, 1] to (F, R, R, 3) uint8."""
        levels = ((frames.float().clamp(-1, 1) + 1) * 127.5).round().byte()
        return rearrange(levels, "1 f c h w -> f h w c").contiguous().cpu().numpy()

    def _latent_mask(self, latents: Tensor) -> Tensor:
        """The mouth mask by nearest neighbour (every 8th pixel) at the size of `latents`, (1, 1, F, h, w)."""
        small = nn.functional.interpolate(self._keep[None], size=latents.shape[-2:])  # (1, 1, h, w)
        return repeat(small, "1 1 h w -> 1 1 f h w", f=self.num_frames)


def posterior_generator(seed: int, window_index: int, device: torch.device | str) -> torch.Generator:
    """The random numbers of one window: they depend on seed and window alone, not on what was generated before."""
    state = int(np.random.SeedSequence((seed, window_index)).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device=device).manual_seed(state)
