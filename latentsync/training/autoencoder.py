"""Train a small KL autoencoder on face crops; the embedded demo model's latent space comes from here."""

import lightning
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.func import functional_call

from latentsync.data.sample import ClipBatch
from latentsync.errors import UserError
from latentsync.face.mouth_mask import mouth_mask
from latentsync.losses.perceptual import PerceptualLoss
from latentsync.training.optimization import LRSchedulerFactory, OptimizerFactory, optimizer_config
from latentsync.training.randomness import step_generator


class AutoencoderModule(lightning.LightningModule):
    """L1 + MSE, LPIPS and a patch adversary on single frames, with a light KL term (Rombach et al. 2022, Sec. G.1).

    A batch is frames (B, 3, H, W) in [-1, 1], or clips, whose target and reference frames are taken one by one.
    vae: diffusers AutoencoderKL. resolution: side of the frames in pixels. kl_weight: weight of the KL divergence, mean
        over latents. mouth_weight: extra weight of the error in the region that the lip-sync network will generate.
    perceptual, perceptual_weight: LPIPS of the lower half; None: none. adversary: a network from frames to a map of
        logits (B, 1, h, w), trained along; None: none. adversarial_weight: of its verdict on the decoded frames
        (hinge loss); adversarial_start: the step from which it counts.
    At every validation `scaling_factor` and `shift_factor` are set from the moving moments of the latents, so that
    scaled latents have zero mean and unit variance.
    """

    latent_moments: Tensor
    generated: Tensor

    def __init__(
        self,
        vae: AutoencoderKL,
        optimizer: OptimizerFactory,
        lr_scheduler: LRSchedulerFactory | None = None,
        resolution: int = 128,
        kl_weight: float = 1e-4,
        mouth_weight: float = 3.0,
        perceptual: PerceptualLoss | None = None,
        perceptual_weight: float = 0.0,
        adversary: nn.Module | None = None,
        adversarial_weight: float = 0.0,
        adversarial_start: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if perceptual_weight > 0 and perceptual is None:
            raise UserError(f"model.perceptual_weight={perceptual_weight}: there is no model.perceptual to weigh")
        if adversarial_weight > 0 and adversary is None:
            raise UserError(f"model.adversarial_weight={adversarial_weight}: there is no model.adversary to weigh")
        self.vae, self.perceptual, self.adversary = vae, perceptual, adversary
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.kl_weight, self.mouth_weight, self.seed = kl_weight, mouth_weight, seed
        self.perceptual_weight = perceptual_weight
        self.adversarial_weight, self.adversarial_start = adversarial_weight, adversarial_start
        self.register_buffer("latent_moments", torch.tensor([0.0, 1.0]))  # running mean, running mean square
        self.register_buffer("generated", 1 - mouth_mask(resolution), persistent=False)  # (1, R, R)

    def training_step(self, batch: Tensor | ClipBatch, batch_idx: int) -> Tensor:
        frames = single_frames(batch)
        posterior = self.vae.encode(frames).latent_dist
        latents = posterior.sample(step_generator(self, self.seed, batch_idx))
        decoded = self.vae.decode(latents).sample.float()
        self._track(latents.detach())
        terms = {"reconstruction": self._weighted(decoded, frames)}
        terms["kl"] = self.kl_weight * posterior.kl().mean() / latents[0].numel()
        if self.perceptual is not None and self.perceptual_weight > 0:
            terms["perceptual"] = self.perceptual_weight * self._lower_distance(self.perceptual, decoded, frames)
        if self.adversary is not None and self.adversarial_weight > 0 and self.global_step >= self.adversarial_start:
            terms.update(self._adversarial(self.adversary, decoded, frames))
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, prog_bar=True, batch_size=len(frames))
        return torch.stack(list(terms.values())).sum()

    def _adversarial(self, adversary: nn.Module, decoded: Tensor, frames: Tensor) -> dict[str, Tensor]:
        """The hinge losses of both sides in one sum: neither's gradient reaches the other's weights."""
        judge = {name: value.detach() for name, value in adversary.named_parameters()}
        verdict = functional_call(adversary, judge, (decoded,)).float()
        real, fake = adversary(frames).float(), adversary(decoded.detach()).float()
        return {
            "adversarial": -self.adversarial_weight * verdict.mean(),
            "adversary": (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2,
        }

    def validation_step(self, batch: Tensor | ClipBatch, batch_idx: int) -> None:
        frames = single_frames(batch)
        decoded = self.vae.decode(self.vae.encode(frames).latent_dist.mode()).sample.float()
        error = (decoded - frames).square()
        region = (error * self.generated).sum() / (self.generated.sum() * error.shape[0] * error.shape[1])
        values = {"val/psnr": psnr(error.mean()), "val/psnr_generated": psnr(region)}
        if self.perceptual is not None:
            values["val/lpips"] = self._lower_distance(self.perceptual, decoded, frames)
        self.log_dict(values, prog_bar=True, batch_size=len(frames))

    @staticmethod
    def _lower_distance(perceptual: PerceptualLoss, decoded: Tensor, frames: Tensor) -> Tensor:
        return perceptual.distance(*(picture[..., picture.shape[-2] // 2 :, :] for picture in (decoded, frames))).mean()

    def _weighted(self, decoded: Tensor, frames: Tensor) -> Tensor:
        error = (decoded - frames).abs() + (decoded - frames).square()
        generated = (error * self.generated).sum() / (self.generated.sum() * error.shape[0] * error.shape[1])
        return error.mean() + self.mouth_weight * generated

    def _track(self, latents: Tensor) -> None:
        now = torch.stack([latents.mean(), latents.square().mean()]).float()
        self.latent_moments.lerp_(now, 0.01)

    def on_validation_end(self) -> None:
        mean, square = self.latent_moments.tolist()
        self.vae.register_to_config(scaling_factor=(square - mean**2) ** -0.5, shift_factor=mean)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optimizer_config(self.parameters(), self.make_optimizer, self.make_lr_scheduler)


def single_frames(batch: Tensor | ClipBatch) -> Tensor:
    """The frames (N, 3, H, W) of a batch of frames or of clips. Raises UserError for clips without pixels."""
    if isinstance(batch, Tensor):
        return batch
    if batch.target is None or batch.reference is None:
        raise UserError("an autoencoder is trained on pixels; set data.pixels=true")
    return torch.cat([batch.target, batch.reference], dim=1).flatten(0, 1)


def psnr(mean_squared_error: Tensor) -> Tensor:
    """Decibels, for pixels in [-1, 1]."""
    return 10 * torch.log10(4 / mean_squared_error)
