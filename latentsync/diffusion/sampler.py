"""From noise to latents: the reverse process with any diffusers scheduler."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.diffusion.conditioning import KnownLatents
from latentsync.diffusion.guidance import check_guidance_scale, guide, unconditional
from latentsync.errors import UserError
from latentsync.models.audio_reuse import audio_computed_once


def initial_noise(shape: Sequence[int], generator: torch.Generator, standardize: bool = False) -> Tensor:
    """Start noise: one frame's noise repeated over the frames, as published.

    shape: (B, C, F, h, w). standardize: bring each channel of each clip to mean 0 and deviation 1. Returns that shape,
    float32, unit variance, on the generator's device.
    """
    batch, channels, num_frames, height, width = shape
    noise = torch.randn((batch, channels, 1, height, width), generator=generator, device=generator.device)
    if standardize:
        std, mean = torch.std_mean(noise, dim=(3, 4), keepdim=True)
        noise = (noise - mean) / std
    return noise.expand(-1, -1, num_frames, -1, -1).contiguous()


class Sampler:
    """Runs a U-Net under a scheduler.

    unet: called as unet(sample (B, 13, F, h, w), timestep, audio tokens (B, F, L, D)). scheduler: any diffusers
    scheduler set to what the U-Net predicts, e.g. `NoiseSchedule.scheduler()`; its state belongs to one call at a time.
    """

    def __init__(self, unet: nn.Module, scheduler: Any) -> None:
        self.unet, self.scheduler = unet, scheduler

    @torch.no_grad()
    def __call__(
        self,
        noise: Tensor,
        known: KnownLatents,
        audio_tokens: Tensor,
        num_inference_steps: int = 20,
        guidance_scale: float = 1.0,
        progress: Callable[[int, int], None] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        feature_reuse: int = 1,
        guidance_start: float = 0.0,
    ) -> Tensor:
        """Clean latents (B, 4, F, h, w), in the dtype of `noise`; between the steps they are float32.

        noise: start noise (B, 4, F, h, w), unit variance; known: of the same clips; audio_tokens: (B, F, L, D).
        guidance_scale: 0 to 10, costs a second pass and acts only above 1, as published. guidance_start: the share of
            the steps that are done without it, 0 to 1, 0 as published (Kynkäänniemi et al. 2024).
        progress: told (steps done, steps) after every step.
        generator: for schedulers that add noise in their steps (DDIM does not), one for all or one for each clip.
        feature_reuse: N = deep features are computed in every Nth step, 1 = in each; see `models.deep_reuse`.
        What depends on the audio alone is computed once. Nothing is read back from the device between the steps, so
        that they are queued without waiting for it. Raises UserError for arguments out of range.
        """
        check_guidance_scale(guidance_scale)
        if num_inference_steps < 1:
            raise UserError(f"num_inference_steps={num_inference_steps}: at least one step is needed")
        guided = guidance_scale > 1
        both_tokens = torch.cat([unconditional(audio_tokens), audio_tokens])
        self.scheduler.set_timesteps(num_inference_steps)  # on the host, where its tables and its decisions are
        timesteps = self.scheduler.timesteps.to(noise.device)  # the network's, all in one transfer
        latents = noise.float() * self.scheduler.init_noise_sigma
        takes_generator = "generator" in inspect.signature(self.scheduler.step).parameters
        randomness = {"generator": generator} if generator is not None and takes_generator else {}
        with audio_computed_once(self.unet, audible=audio_tokens.shape[0] * audio_tokens.shape[1]):
            unet = _reusing(self.unet, feature_reuse)
            for done, (timestep, told) in enumerate(zip(self.scheduler.timesteps, timesteps), 1):
                noisy = self.scheduler.scale_model_input(latents, timestep).to(known.masked.dtype)
                sample = known.stack(noisy)  # (B, 13, F, h, w)
                if guided and done > guidance_start * len(timesteps):
                    uncond, cond = unet(torch.cat([sample, sample]), told, both_tokens).chunk(2)
                    model_pred = guide(uncond, cond, guidance_scale)
                else:
                    model_pred = unet(sample, told, audio_tokens)
                latents = self.scheduler.step(model_pred.float(), timestep, latents, **randomness).prev_sample
                if progress is not None:
                    progress(done, len(self.scheduler.timesteps))
        return latents.to(noise.dtype)


def _reusing(unet: nn.Module, every: int) -> nn.Module:
    """The network itself, or one that computes its deep features in every `every`th step. Raises UserError."""
    if every == 1:
        return unet
    from latentsync.models.deep_reuse import DeepReuse

    return DeepReuse(unet, every)
