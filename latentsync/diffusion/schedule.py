"""The noise schedule: how much of the clean latents is left at each timestep (DDPM/DDIM, Ho 2020, Song 2021)."""

import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from latentsync.errors import UserError


class NoiseSchedule(nn.Module):
    """Scaled-linear betas: √β runs linearly from √beta_start to √beta_end over num_train_timesteps steps.

    alphas_cumprod: (T,) float32, ᾱ_t = Π (1 − β).
    """

    def __init__(
        self, num_train_timesteps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012
    ) -> None:
        super().__init__()
        if not 0 < beta_start <= beta_end < 1 or num_train_timesteps < 1:
            raise UserError(f"schedule: needs 0 < beta_start <= beta_end < 1, got {beta_start} and {beta_end}")
        self.num_train_timesteps, self.beta_start, self.beta_end = num_train_timesteps, beta_start, beta_end
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps, dtype=torch.float32) ** 2
        self.register_buffer("alphas_cumprod", torch.cumprod(1 - betas, dim=0), persistent=False)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """z_t = √ᾱ_t z_0 + √(1−ᾱ_t) ε  (DDPM, Eq. 4).

        latents, noise: (B, C, F, h, w); timesteps: (B,) int64 in [0, T).
        """
        signal, spread = self._at(timesteps, latents)
        return signal * latents + spread * noise

    def clean_estimate(self, noisy: Tensor, noise_pred: Tensor, timesteps: Tensor) -> Tensor:
        """One-step estimate of the clean latents, (z_t − √(1−ᾱ_t) ε̂) / √ᾱ_t  (DDIM, Eq. 12), in float32.

        noisy, noise_pred: (B, C, F, h, w); timesteps: (B,) int64 in [0, T). Returns the shape of `noisy`.
        """
        signal, spread = self._at(timesteps, noisy)
        return (noisy.float() - spread * noise_pred.float()) / signal

    def scheduler(self) -> DDIMScheduler:
        """The published sampler's settings as a diffusers scheduler."""
        return DDIMScheduler(
            num_train_timesteps=self.num_train_timesteps,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type="epsilon",
        )

    def _at(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        alphas = self.alphas_cumprod[timesteps].view(-1, *[1] * (like.ndim - 1))
        return alphas.sqrt(), (1 - alphas).sqrt()
