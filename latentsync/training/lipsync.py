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
from latentsync.training.nan_guard import NanGuard
from latentsync.training.optimization import (
    LRSchedulerFactory,
    OptimizerFactory,
    dtype_of,
    freeze,
    optimizer_config,
    parameter_groups,
    select_trainable,
)
from latentsync.training.randomness import Generators, clip_generators, each_clip
from latentsync.training.recomputation import recompute
from latentsync.training.sharding import shard_blocks


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
    gradient_checkpointing: recompute activations in all networks (True) or in some; see `recomputation.PARTS`.
    pixel_frames: LPIPS looks at so many frames of each clip, drawn anew each step; None: at all of them. Only these
        are decoded, if TREPA and SyncNet look at none.
    frozen_dtype: type in which the frozen networks are kept, "float32", "bfloat16" or "float16"; under mixed precision
        their products are computed in 16 bits anyway.
    parameter_groups: see `optimization.parameter_groups`. compile: torch.compile the U-Net: False, True or a mode.
    nan_guard: what happens when the loss is not finite; None: nothing does.
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
        gradient_checkpointing: bool | list[str] = False,
        seed: int = 0,
        pixel_frames: int | None = None,
        frozen_dtype: str = "float32",
        parameter_groups: list[dict[str, Any]] | None = None,
        compile: bool | str = False,
        nan_guard: NanGuard | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= audio_dropout < 1:
            raise UserError(f"model.audio_dropout={audio_dropout} is not a probability below 1")
        self.unet, self.schedule, self.objective = unet, schedule, objective
        self.autoencoder = freeze(autoencoder, dtype_of(frozen_dtype))
        freeze(objective, dtype_of(frozen_dtype))
        if pixel_frames is not None and pixel_frames < 1:
            raise UserError(f"model.pixel_frames={pixel_frames}: give at least 1, or null for all frames")
        self.num_trainable = select_trainable(unet, list(trainable or ["all"]))
        recompute(gradient_checkpointing, unet, autoencoder, objective)
        if compile:
            unet.compile(mode=None if compile is True else compile)
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.parameter_groups, self.pixel_frames, self.nan_guard = parameter_groups, pixel_frames, nan_guard
        self.mixed_noise_alpha, self.audio_dropout, self.seed = mixed_noise_alpha, audio_dropout, seed
        self.register_buffer("mouth_mask", mouth_mask(resolution), persistent=False)  # (1, R, R)
        self.strict_loading = False  # frozen parts are not in the checkpoint; `on_load_checkpoint` checks the U-Net

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor | None:
        result = self.step(batch, clip_generators(self.device, self.seed, self.current_epoch, batch.keys))
        if self.nan_guard is not None and not self.nan_guard.passes(self, batch, result):
            return None  # Lightning leaves the step out
        self.log_losses("train", result, len(batch.keys))
        return result.total

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        generators = clip_generators(self.device, self.seed, 0, batch.keys)  # the same draw at every validation
        self.log_losses("val", self.step(batch, generators), len(batch.keys))

    def step(self, batch: ClipBatch, generator: Generators) -> ObjectiveResult:
        """One evaluation of the objective on `batch`, with all randomness from `generator` (or one for each clip)."""
        latents = self.encode(batch, generator)
        noise = each_clip(lambda z, own: mixed_noise(z.shape, self.mixed_noise_alpha, own), latents.target, generator)
        steps = self.schedule.num_train_timesteps
        timesteps = each_clip(
            lambda z, own: torch.randint(0, steps, (len(z),), generator=own, device=z.device), noise, generator
        )
        noisy = self.schedule.add_noise(latents.target, noise, timesteps)
        assert batch.audio_tokens is not None
        audio_tokens = self.drop_audio(batch.audio_tokens, generator)
        noise_pred = self.unet(latents.stack(noisy), timesteps, audio_tokens)
        clean_pred = self.schedule.clean_estimate(noisy, noise_pred, timesteps)
        shown = self.shown_frames(clean_pred, generator)
        return self.objective(self.objective_inputs(batch, latents, noise, noise_pred, clean_pred, shown))

    def shown_frames(self, latents: Tensor, generator: Generators) -> Tensor | None:
        """Numbers (B, N) of the frames that LPIPS looks at, in order; None: all of them."""
        frames = latents.shape[2]
        if self.pixel_frames is None or self.pixel_frames >= frames:
            return None
        draw = each_clip(lambda z, own: torch.rand(1, frames, generator=own, device=z.device), latents, generator)
        return draw.expand(len(latents), -1).argsort(1)[:, : self.pixel_frames].sort(1).values

    def objective_inputs(
        self,
        batch: ClipBatch,
        latents: ClipLatents,
        noise: Tensor,
        noise_pred: Tensor,
        clean_pred: Tensor,
        shown: Tensor | None = None,
    ) -> ObjectiveInputs:
        """What the losses look at; pixels are decoded only if one of them needs pixels, and only those it needs."""
        frames, decoded = batch.target, None
        if self.objective.needs_pixels:
            if shown is not None and frames is not None and not self.objective.needs_whole_clips:
                frames, clean_shown, shown = frames_at(frames, shown, 1), frames_at(clean_pred, shown, 2), None
            else:
                clean_shown = clean_pred
            decoded = self.autoencoder.decode(clean_shown)
        return ObjectiveInputs(
            noise_pred=noise_pred,
            noise=noise,
            clean_pred=clean_pred,
            clean=latents.target,
            mask=latents.mask,
            decoded=decoded,
            frames=frames,
            mel=batch.mel,
            shown=shown,
        )

    @torch.no_grad()
    def encode(self, batch: ClipBatch, generator: Generators) -> ClipLatents:
        """Latents of target, masked target and reference: from the stored posterior moments if the shards have them."""
        if batch.target_moments is not None:
            assert batch.masked_moments is not None
            assert batch.reference_moments is not None
            moments = [batch.target_moments, batch.masked_moments, batch.reference_moments]
        else:
            assert batch.target is not None
            assert batch.reference is not None
            keep = self.mouth_mask.to(batch.target)
            moments = [
                torch.cat(self.autoencoder.moments(frames), dim=2)
                for frames in (batch.target, batch.target * keep, batch.reference)
            ]
        target, masked, reference = (each_clip(self.autoencoder.sample_moments, one, generator) for one in moments)
        return ClipLatents(target, self.latent_mask(target), masked, reference)

    def latent_mask(self, latents: Tensor) -> Tensor:
        """The mouth mask by nearest neighbour at the size of `latents` (B, C, F, h, w), as (B, 1, F, h, w)."""
        batch, _, num_frames, height, width = latents.shape
        mask = nn.functional.interpolate(self.mouth_mask[None], size=(height, width))  # (1, 1, h, w)
        return repeat(mask, "1 1 h w -> b 1 f h w", b=batch, f=num_frames).to(latents)

    def drop_audio(self, audio_tokens: Tensor, generator: Generators) -> Tensor:
        """Zero the tokens (B, F, L, D) of a clip with probability `audio_dropout`: guidance's unconditional input."""
        if self.audio_dropout == 0:
            return audio_tokens
        draw = each_clip(
            lambda tokens, own: torch.rand(len(tokens), generator=own, device=tokens.device), audio_tokens, generator
        )
        return audio_tokens * (draw >= self.audio_dropout).to(audio_tokens)[:, None, None, None]

    def log_losses(self, stage: str, result: ObjectiveResult, batch_size: int) -> None:
        """Log the total and every term, raw and weighted."""
        distributed = stage == "val"
        self.log(f"{stage}/loss", result.total, prog_bar=True, batch_size=batch_size, sync_dist=distributed)
        for name, value in result.raw.items():
            self.log(f"{stage}/{name}", value, batch_size=batch_size, sync_dist=distributed)
            self.log(f"{stage}/{name}_weighted", result.weighted[name], batch_size=batch_size, sync_dist=distributed)

    def configure_model(self) -> None:
        shard_blocks(self.trainer, self.unet)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        groups = parameter_groups(self.unet, self.parameter_groups or [])
        return optimizer_config(groups, self.make_optimizer, self.make_lr_scheduler)

    def state_dict(self, *args: Any, prefix: str = "", **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The U-Net alone: the frozen networks are other people's files and are named in the configuration."""
        state = super().state_dict(*args, prefix=prefix, **kwargs)
        for name in [name for name in state if name.startswith(prefix) and not name.startswith(f"{prefix}unet.")]:
            del state[name]  # in place: who wraps the module (FSDP, torch's AveragedModel) gathers into one dictionary
        return state

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Add the U-Net's configuration, so that the checkpoint says by itself what it is made for."""
        config = {name: value for name, value in self.unet.config.items() if not name.startswith("_")}
        checkpoint["unet_config"] = {name: list(v) if isinstance(v, tuple) else v for name, v in config.items()}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Raise UserError if the checkpoint's U-Net is not this configuration's."""
        if "state_dict" not in checkpoint:
            return  # a strategy that shards weights has loaded them itself
        own = {f"unet.{name}": value.shape for name, value in self.unet.state_dict().items()}
        found = {name: value.shape for name, value in checkpoint["state_dict"].items() if name.startswith("unet.")}
        if own != found:
            differing = sorted(name for name in own.keys() | found.keys() if own.get(name) != found.get(name))
            raise UserError(
                f"checkpoint does not fit the configured U-Net: {len(differing)} of {len(own)} tensors differ, "
                f"the first is '{differing[0]}'; resume with the configuration the run was started with"
            )


def frames_at(clips: Tensor, numbers: Tensor, axis: int) -> Tensor:
    """The frames with these numbers (B, N) of each clip; `axis` is that of the frames in `clips` (B, …)."""
    index = numbers.view(len(numbers), *([1] * (axis - 1)), -1, *([1] * (clips.ndim - axis - 1)))
    shape = [*clips.shape[:axis], numbers.shape[1], *clips.shape[axis + 1 :]]
    return clips.gather(axis, index.expand(shape))
