"""The training objective of LatentSync as a LightningModule; stage 1 and stage 2 are two configurations of it."""

from typing import Any, Self

import lightning
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from latentsync.data.sample import ClipBatch
from latentsync.diffusion.clip_random import ClipRandom
from latentsync.diffusion.conditioning import Conditioning
from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.errors import UserError
from latentsync.losses.loss import LossInputs
from latentsync.losses.objective import Objective, ObjectiveResult
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.unet import UNet3DConditionModel
from latentsync.training.from_checkpoint import rebuilt
from latentsync.training.nan_guard import NanGuard
from latentsync.training.optimization import (
    LRSchedulerFactory,
    OptimizerFactory,
    check_not_dead,
    dtype_of,
    freeze,
    optimizer_config,
    parameter_groups,
    select_trainable,
)
from latentsync.training.recomputation import recompute
from latentsync.training.sharding import shard_blocks
from latentsync.training.trained_with import TrainedWith


class LipSyncModule(lightning.LightningModule):
    """Noise prediction with losses in pixel space on the one-step clean estimate (LatentSync, Sec. 3).

    unet, autoencoder, schedule, objective: the parts. Only the U-Net is trained, and of it the parameters whose names
        contain one of `trainable` (["all"] for everything); everything else is frozen and stays out of checkpoints.
    resolution: side of the face crops in pixels. mixed_noise_alpha: α of the noise shared over frames (1 as published).
    timestep_shift: how much more often noisy timesteps are drawn (`ClipRandom.timesteps`; 1, uniform, as published).
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
        timestep_shift: float = 1.0,
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
        if isinstance(audio_dropout, bool) or not isinstance(audio_dropout, int | float) or not 0 <= audio_dropout < 1:
            raise UserError(f"model.audio_dropout={audio_dropout} is not a probability below 1")
        if not timestep_shift > 0:
            raise UserError(f"model.timestep_shift={timestep_shift} must be above 0; 1 draws timesteps uniformly")
        settle_prediction_type(unet, schedule)
        self.unet, self.schedule, self.objective = unet, schedule, objective
        self.trained_with = TrainedWith(autoencoder, resolution, schedule)
        self.frozen_dtype = frozen_dtype
        self.conditioning = Conditioning(freeze(autoencoder, dtype_of(frozen_dtype)), resolution)
        freeze(objective, dtype_of(frozen_dtype))
        if pixel_frames is not None and pixel_frames < 1:
            raise UserError(f"model.pixel_frames={pixel_frames}: give at least 1, or null for all frames")
        self.num_trainable = select_trainable(unet, list(trainable or ["all"]))
        recompute(gradient_checkpointing, unet, autoencoder, objective)
        if compile:
            unet.compile(mode=None if compile is True else compile)
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.parameter_groups, self.pixel_frames, self.nan_guard = parameter_groups, pixel_frames, nan_guard
        self.mixed_noise_alpha, self.timestep_shift = mixed_noise_alpha, timestep_shift
        self.audio_dropout, self.seed = audio_dropout, seed
        self.strict_loading = False  # frozen parts are not in the checkpoint; `on_load_checkpoint` checks the U-Net

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, map_location: Any = None, **given: Any) -> Self:  # type: ignore[override]
        """The module of a checkpoint, rebuilt from what the checkpoint names; see `from_checkpoint.rebuilt`."""
        module = rebuilt(cls, checkpoint_path, **given)
        return module if map_location is None else module.to(map_location)

    @property
    def autoencoder(self) -> FrameAutoencoder:
        """The frozen VAE."""
        return self.conditioning.autoencoder

    def setup(self, stage: str) -> None:
        """Raise UserError for a U-Net that cannot learn, and unless the precision is what networks frozen in 16 bits
        need: their inputs cast to 16."""
        if stage == "fit" and self.trainer.ckpt_path is None:  # a resumed run gets its weights later
            check_not_dead(self.unet)
        wanted = {"bfloat16": "bf16-mixed", "float16": "16-mixed"}.get(self.frozen_dtype)
        if wanted not in (None, self.trainer.precision):
            raise UserError(
                f"model.frozen_dtype={self.frozen_dtype} needs trainer.precision={wanted}, not "
                f"{self.trainer.precision}; set one of the two"
            )

    def on_after_batch_transfer(self, batch: ClipBatch, dataloader_idx: int) -> ClipBatch:
        self.trained_with.hears(batch)
        return batch

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor | None:
        result = self.step(batch, ClipRandom.of(batch.keys, self.seed, self.current_epoch, self.device))
        if self.nan_guard is not None and not self.nan_guard.passes(self, batch, result):
            return None  # Lightning leaves the step out
        self.log_losses("train", result, len(batch))
        return result.total

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        draws = ClipRandom.of(batch.keys, self.seed, device=self.device)  # the same at every validation
        self.log_losses("val", self.step(batch, draws), len(batch))

    def step(self, batch: ClipBatch, draws: ClipRandom) -> ObjectiveResult:
        """One evaluation of the objective on `batch`, with all randomness from `draws`.

        z_t = √ᾱ_t z_0 + √(1−ᾱ_t) ε                                 t ~ U[0, T), ε mixed noise
        ε̂   = U-Net([z_t, mask, z_masked, z_reference], t, audio)
        ẑ_0 = (z_t − √(1−ᾱ_t) ε̂) / √ᾱ_t                             or of a velocity, see `NoiseSchedule`
        L   = Σ λ_i · L_i(ε̂, ε, ẑ_0, z_0, decoded ẑ_0, frames, mel)
        """
        assert batch.audio_tokens is not None
        latents = self.conditioning.encode(batch, draws)
        noise = draws.noise(latents.target, self.mixed_noise_alpha)
        timesteps = draws.timesteps(self.schedule.num_train_timesteps, self.timestep_shift)
        noisy = self.schedule.add_noise(latents.target, noise, timesteps)
        audio_tokens = draws.dropout(batch.audio_tokens, self.audio_dropout)
        model_pred = self.unet(latents.stack(noisy), timesteps, audio_tokens)
        clean_pred = self.schedule.clean_estimate(noisy, model_pred, timesteps)
        target = self.schedule.target(latents.target, noise, timesteps)
        shown = draws.shown_frames(clean_pred.shape[2], self.pixel_frames)
        inputs = LossInputs(model_pred, target, clean_pred, latents.target, latents.mask, batch.mel, batch.target)
        return self.objective(inputs, self.autoencoder.decode, shown)

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
        """Add the U-Net's configuration and what it goes with, so that the checkpoint says by itself what it is."""
        checkpoint["model"] = self.trained_with.told.as_dict()
        config = {name: value for name, value in self.unet.config.items() if not name.startswith("_")}
        checkpoint["unet_config"] = {name: list(v) if isinstance(v, tuple) else v for name, v in config.items()}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Raise UserError if the checkpoint's U-Net is not this configuration's."""
        self.trained_with.restore(checkpoint.get("model") or {})
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


def settle_prediction_type(unet: UNet3DConditionModel, schedule: NoiseSchedule) -> None:
    """Raise UserError where the U-Net's weights predict something else than the schedule says; else note it in its
    configuration, which exports and checkpoints carry."""
    made_for = unet.config.get("prediction_type")
    if made_for not in (None, schedule.prediction_type):
        raise UserError(
            f"model.schedule.prediction_type={schedule.prediction_type}: the U-Net's initial weights were trained for "
            f"{made_for}; set model.schedule.prediction_type={made_for}"
        )
    if schedule.prediction_type != "epsilon":  # what published configurations take for granted
        unet.register_to_config(prediction_type=schedule.prediction_type)
