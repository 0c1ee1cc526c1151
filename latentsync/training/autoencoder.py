"""Train a small KL autoencoder on face crops; the embedded demo model's latent space comes from here."""

import lightning
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from latentsync.training.optimization import LRSchedulerFactory, OptimizerFactory, optimizer_config
from latentsync.training.randomness import step_generator


class AutoencoderModule(lightning.LightningModule):
    """L1 + MSE reconstruction with a light KL term, on single frames (Rombach et al. 2022, without the adversary).

    A batch is frames (B, 3, H, W) in [-1, 1].
    vae: diffusers AutoencoderKL. kl_weight: weight of the KL divergence, mean over latents.
    mouth_weight: extra weight of the lower half's middle, where lips and teeth are small but matter.
    At every validation `scaling_factor` and `shift_factor` are set from the moving moments of the latents, so that
    scaled latents have zero mean and unit variance.
    """

    latent_moments: Tensor

    def __init__(
        self,
        vae: AutoencoderKL,
        optimizer: OptimizerFactory,
        lr_scheduler: LRSchedulerFactory | None = None,
        kl_weight: float = 1e-4,
        mouth_weight: float = 3.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.vae = vae
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.kl_weight, self.mouth_weight, self.seed = kl_weight, mouth_weight, seed
        self.register_buffer("latent_moments", torch.tensor([0.0, 1.0]))  # running mean, running mean square

    def training_step(self, frames: Tensor, batch_idx: int) -> Tensor:
        posterior = self.vae.encode(frames).latent_dist
        generator = step_generator(self, self.seed, batch_idx)
        latents = posterior.sample(generator)
        decoded = self.vae.decode(latents).sample
        reconstruction = self._weighted(decoded, frames)
        kl = posterior.kl().mean() / latents[0].numel()
        self._track(latents.detach())
        self.log_dict({"train/reconstruction": reconstruction, "train/kl": kl}, prog_bar=True)
        return reconstruction + self.kl_weight * kl

    def validation_step(self, frames: Tensor, batch_idx: int) -> None:
        decoded = self.vae.decode(self.vae.encode(frames).latent_dist.mode()).sample
        psnr = 10 * torch.log10(4 / F.mse_loss(decoded, frames))
        self.log("val/psnr", psnr, prog_bar=True, batch_size=len(frames))

    def _weighted(self, decoded: Tensor, frames: Tensor) -> Tensor:
        error = (decoded - frames).abs() + (decoded - frames).square()
        height, width = frames.shape[-2:]
        mouth = error[..., height // 2 : height * 7 // 8, width // 4 : width * 3 // 4]
        return error.mean() + self.mouth_weight * mouth.mean()

    def _track(self, latents: Tensor) -> None:
        now = torch.stack([latents.mean(), latents.square().mean()]).float()
        self.latent_moments.lerp_(now, 0.01)

    def on_validation_end(self) -> None:
        mean, square = self.latent_moments.tolist()
        self.vae.register_to_config(scaling_factor=(square - mean**2) ** -0.5, shift_factor=mean)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optimizer_config(self.parameters(), self.make_optimizer, self.make_lr_scheduler)
