"""The noise schedule: how much of the clean latents is left at each timestep (DDPM/DDIM, Ho 2020, Song 2021)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latentsync.errors import UserError

if TYPE_CHECKING:
    from diffusers import DDIMScheduler

PREDICTION_TYPES = ("epsilon", "v_prediction")


class NoiseSchedule(nn.Module):
    """Scaled-linear betas: √β runs linearly from √beta_start to √beta_end over num_train_timesteps steps.

    alphas_cumprod: (T,), ᾱ_t = Π (1 − β), float32 whatever dtype the module around it is cast to.
    standardize_start_noise: whether sampling starts from noise of mean 0 and deviation 1 in each channel, for small
        networks that take the deviations of a draw for the picture's light; False as published.
    prediction_type: what the network predicts, "epsilon", the noise, as published, or "v_prediction", the velocity
        v = √ᾱ ε − √(1−ᾱ) z_0 (Salimans 2022): at large t nearly the clean latents themselves, which a small network
        learns much sooner than to tell them from a copy of its noise.
    Raises UserError for betas outside 0 … 1 and another prediction type.
    """

    alphas_cumprod: Tensor

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        standardize_start_noise: bool = False,
        prediction_type: str = "epsilon",
    ) -> None:
        super().__init__()
        self.standardize_start_noise, self.prediction_type = standardize_start_noise, prediction_type
        if prediction_type not in PREDICTION_TYPES:
            known = " or ".join(PREDICTION_TYPES)
            raise UserError(f"schedule: prediction_type={prediction_type} is unknown; use {known}")
        if not 0 < beta_start <= beta_end < 1:
            raise UserError(
                f"schedule: beta_start={beta_start} and beta_end={beta_end} must hold 0 < beta_start <= beta_end < 1"
            )
        if num_train_timesteps < 1:
            raise UserError(f"schedule: num_train_timesteps={num_train_timesteps} must be at least 1")
        self.num_train_timesteps, self.beta_start, self.beta_end = num_train_timesteps, beta_start, beta_end
        self.register_buffer("alphas_cumprod", self._alphas_cumprod(), persistent=False)

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """z_t = √ᾱ_t z_0 + √(1−ᾱ_t) ε  (DDPM, Eq. 4), in float32.

        latents, noise: (B, C, F, h, w); timesteps: (B,) int64 in [0, T). Returns the shape of `latents`.
        """
        signal, spread = self._at(timesteps, latents)
        return signal * latents.float() + spread * noise.float()

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What the network is to predict: ε, or v = √ᾱ_t ε − √(1−ᾱ_t) z_0, in float32; shapes as in `add_noise`."""
        if self.prediction_type == "epsilon":
            return noise.float()
        signal, spread = self._at(timesteps, latents)
        return signal * noise.float() - spread * latents.float()

    def clean_estimate(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """One-step estimate of the clean latents, in float32.

        (z_t − √(1−ᾱ_t) ε̂) / √ᾱ_t  (DDIM, Eq. 12), or of a velocity √ᾱ_t z_t − √(1−ᾱ_t) v̂.
        noisy, prediction: (B, C, F, h, w); timesteps: (B,) int64 in [0, T). Returns the shape of `noisy`.
        """
        signal, spread = self._at(timesteps, noisy)
        if self.prediction_type == "epsilon":
            return (noisy.float() - spread * prediction.float()) / signal
        return signal * noisy.float() - spread * prediction.float()

    def scheduler(self) -> DDIMScheduler:
        """The published sampler's settings as a diffusers scheduler."""
        from diffusers import DDIMScheduler  # takes seconds to import, and training needs none

        return DDIMScheduler(
            num_train_timesteps=self.num_train_timesteps,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            timestep_spacing="leading",
            prediction_type=self.prediction_type,
        )

    def _alphas_cumprod(self) -> Tensor:
        steps = self.num_train_timesteps
        # On the CPU even where the default device is another: the table is computed, never loaded.
        roots = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, steps, dtype=torch.float32, device="cpu")
        return torch.cumprod(1 - roots**2, dim=0)

    def _at(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1−ᾱ_t), (B, 1, …) to go with `like`."""
        alphas = self.alphas_cumprod[timesteps].view(-1, *[1] * (like.ndim - 1))
        return alphas.sqrt(), (1 - alphas).sqrt()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> NoiseSchedule:
        """Moves between devices, but stays float32: in bfloat16 ᾱ near 1 has no digits left."""
        super()._apply(fn, recurse)
        self.alphas_cumprod = self._alphas_cumprod().to(self.alphas_cumprod.device)
        return self
