"""The training objective of LatentSync as a LightningModule; stage 1 and stage 2 are two configurations of it."""

from dataclasses import dataclass
from typing import Any

import lightning
import torch
from einops import repeat
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from latentsync.data.sample import ClipBatch
from latentsync.diffusion.mixed_noise import mixed_noise
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError
from latentsync.face.mouth_mask import mouth_mask
from latentsync.losses.objective import Objective, ObjectiveInputs, ObjectiveResult
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.unet import UNet3DConditionModel
from latentsync.training.optimization import (
    LRSchedulerFactory,
    OptimizerFactory,
    freeze,
    optimizer_config,
    select_trainable,
)
from latentsync.training.randomness import step_generator


@dataclass(frozen=True)
class ClipLatents:
    """Scaled latents of one batch, each (B, 4, F, h, w), and the mouth mask at their size, (B, 1, F, h, w)."""

    target: Tensor
    mask: Tensor
    masked: Tensor
    reference: Tensor

    def stack(self, noisy: Tensor) -> Tensor:
        """U-Net input (B, 13, F, h, w): noisy latents, mask, masked latents, reference latents."""
        return torch.cat([noisy, self.mask, self.masked, self.reference], dim=1)


class LipSyncModule(lightning.LightningModule):
    """Noise prediction with losses in pixel space on the one-step clean estimate (LatentSync, Sec. 3).

    unet, autoencoder, schedule, objective: the parts. Only the U-Net is trained, and of it the parameters whose names
        contain one of `trainable` (["all"] for everything); everything else is frozen and stays out of checkpoints.
    resolution: side of the face crops in pixels. mixed_noise_alpha: α of the noise shared over frames (1 as published).
    audio_dropout: probability to zero a clip's audio tokens, so that guidance > 1 means something (0 as published).
    gradient_checkpointing: recompute the activations of U-Net, VAE decoder, SyncNet and video encoder.
    seed: of timesteps, noise and dropout; with the same seed a resumed run repeats the uninterrupted one.
    """

    mouth_mask: Tensor

    def __init__(
        self,
        unet: UNet3DConditionModel,
        autoencoder: FrameAutoencoder,
        objective: Objective,
        schedule: NoiseSchedule,
        optimizer: OptimizerFactory,
        lr_scheduler: LRSchedulerFactory | None = None,
        resolution: int = 256,
        trainable: list[str] | None = None,
        mixed_noise_alpha: float = 1.0,
        audio_dropout: float = 0.0,
        gradient_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= audio_dropout < 1:
            raise UserError(f"model.audio_dropout={audio_dropout} is not a probability below 1")
        self.unet, self.schedule, self.objective = unet, schedule, objective
        self.autoencoder = freeze(autoencoder)
        self.num_trainable = select_trainable(unet, list(trainable or ["all"]))
        if gradient_checkpointing:
            unet.enable_gradient_checkpointing()
            autoencoder.enable_gradient_checkpointing()
            objective.enable_gradient_checkpointing()
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.mixed_noise_alpha, self.audio_dropout, self.seed = mixed_noise_alpha, audio_dropout, seed
        self.register_buffer("mouth_mask", mouth_mask(resolution), persistent=False)  # (1, R, R)
        self.strict_loading = False  # frozen parts are not in the checkpoint; `on_load_checkpoint` checks the U-Net

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        result = self.step(batch, step_generator(self, self.seed, batch_idx))
        self.log_losses("train", result, len(batch.keys))
        return result.total

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        generator = torch.Generator(self.device).manual_seed(self.seed + batch_idx)  # the same draw at every validation
        self.log_losses("val", self.step(batch, generator), len(batch.keys))

    def step(self, batch: ClipBatch, generator: torch.Generator) -> ObjectiveResult:
        """One evaluation of the objective on `batch`, with all randomness drawn from `generator`."""
        latents = self.encode(batch, generator)
        noise = mixed_noise(latents.target.shape, self.mixed_noise_alpha, generator)
        timesteps = torch.randint(
            0, self.schedule.num_train_timesteps, (len(noise),), generator=generator, device=noise.device
        )
        noisy = self.schedule.add_noise(latents.target, noise, timesteps)
        assert batch.audio_tokens is not None
        audio_tokens = self.drop_audio(batch.audio_tokens, generator)
        noise_pred = self.unet(latents.stack(noisy), timesteps, audio_tokens)
        clean_pred = self.schedule.clean_estimate(noisy, noise_pred, timesteps)
        return self.objective(self.objective_inputs(batch, latents, noise, noise_pred, clean_pred))

    def objective_inputs(
        self, batch: ClipBatch, latents: ClipLatents, noise: Tensor, noise_pred: Tensor, clean_pred: Tensor
    ) -> ObjectiveInputs:
        """What the losses look at; pixels are decoded only if one of them needs pixels."""
        decoded = self.autoencoder.decode(clean_pred) if self.objective.needs_pixels else None
        return ObjectiveInputs(
            noise_pred=noise_pred,
            noise=noise,
            clean_pred=clean_pred,
            clean=latents.target,
            mask=latents.mask,
            decoded=decoded,
            frames=batch.target,
            mel=batch.mel,
        )

    @torch.no_grad()
    def encode(self, batch: ClipBatch, generator: torch.Generator) -> ClipLatents:
        """Latents of target, masked target and reference: from the stored posterior moments if the shards have them."""
        if batch.target_moments is not None:
            assert batch.masked_moments is not None
            assert batch.reference_moments is not None
            target, masked, reference = (
                self.autoencoder.sample_moments(moments, generator)
                for moments in (batch.target_moments, batch.masked_moments, batch.reference_moments)
            )
        else:
            assert batch.target is not None
            assert batch.reference is not None
            keep = self.mouth_mask.to(batch.target)
            target, masked, reference = (
                self.autoencoder.encode(frames, generator)
                for frames in (batch.target, batch.target * keep, batch.reference)
            )
        return ClipLatents(target, self.latent_mask(target), masked, reference)

    def latent_mask(self, latents: Tensor) -> Tensor:
        """The mouth mask by nearest neighbour at the size of `latents` (B, C, F, h, w), as (B, 1, F, h, w)."""
        batch, _, num_frames, height, width = latents.shape
        mask = nn.functional.interpolate(self.mouth_mask[None], size=(height, width))  # (1, 1, h, w)
        return repeat(mask, "1 1 h w -> b 1 f h w", b=batch, f=num_frames).to(latents)

    def drop_audio(self, audio_tokens: Tensor, generator: torch.Generator) -> Tensor:
        """Zero the tokens (B, F, L, D) of a clip with probability `audio_dropout`: guidance's unconditional input."""
        if self.audio_dropout == 0:
            return audio_tokens
        draw = torch.rand(len(audio_tokens), generator=generator, device=audio_tokens.device)
        return audio_tokens * (draw >= self.audio_dropout).to(audio_tokens)[:, None, None, None]

    def log_losses(self, stage: str, result: ObjectiveResult, batch_size: int) -> None:
        """Log the total and every term, raw and weighted."""
        distributed = stage == "val"
        self.log(f"{stage}/loss", result.total, prog_bar=True, batch_size=batch_size, sync_dist=distributed)
        for name, value in result.raw.items():
            self.log(f"{stage}/{name}", value, batch_size=batch_size, sync_dist=distributed)
            self.log(f"{stage}/{name}_weighted", result.weighted[name], batch_size=batch_size, sync_dist=distributed)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optimizer_config(self.unet.parameters(), self.make_optimizer, self.make_lr_scheduler)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The U-Net alone: the frozen networks are other people's files and are named in the configuration."""
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if name.startswith("unet.")}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Add the U-Net's configuration, so that the checkpoint says by itself what it is made for."""
        config = {name: value for name, value in self.unet.config.items() if not name.startswith("_")}
        checkpoint["unet_config"] = {name: list(v) if isinstance(v, tuple) else v for name, v in config.items()}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Raise UserError if the checkpoint's U-Net is not this configuration's."""
        own = {f"unet.{name}": value.shape for name, value in self.unet.state_dict().items()}
        found = {name: value.shape for name, value in checkpoint["state_dict"].items() if name.startswith("unet.")}
        if own != found:
            differing = sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))
            raise UserError(
                f"checkpoint does not fit the configured U-Net: {len(differing)} of {len(own)} tensors differ, "
                f"the first is '{differing[0]}'; resume with the configuration the run was started with"
            )
