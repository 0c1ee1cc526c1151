"""Train StableSyncNet: do these 16 frames belong to this sound? (LatentSync, Sec. 4)"""

from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from latentsync.data.sample import ClipBatch
from latentsync.errors import UserError
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.models.syncnet import StableSyncNet
from latentsync.training.optimization import LRSchedulerFactory, OptimizerFactory, freeze, optimizer_config
from latentsync.training.randomness import step_generator


class SyncNetModule(lightning.LightningModule):
    """Binary cross-entropy on the cosine of the two unit embeddings.

    A clip's mel is paired with its own target window (positive) or, with probability ½, with other frames (negative):
    the clip's reference window, whose distance is the data's `reference_distance`, or with probability
    `negatives_from_other_clips` the target window of the next clip in the batch. Validation looks at the positive and
    the negative of every clip, so that nothing is left to chance. Accuracy counts cosine > 0.5 as "in sync".

    autoencoder: for a SyncNet of latents, on clips that do not store them. gradient_checkpointing: recompute the
    activations of SyncNet. seed: of pairs and latents.
    Raises UserError for a share that is none, for a SyncNet of latents without an autoencoder, and for one whose
    channels are not those of its number of frames.
    """

    def __init__(
        self,
        syncnet: StableSyncNet,
        optimizer: OptimizerFactory,
        lr_scheduler: LRSchedulerFactory | None = None,
        autoencoder: FrameAutoencoder | None = None,
        negatives_from_other_clips: float = 0.0,
        gradient_checkpointing: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= negatives_from_other_clips <= 1:
            raise UserError(f"model.negatives_from_other_clips={negatives_from_other_clips}: give a share from 0 to 1")
        if syncnet.config["latent_space"] and autoencoder is None:
            raise UserError("model.autoencoder is missing: this SyncNet looks at latents; give model/autoencoder=sd")
        frames = syncnet.visual_encoder.conv_in.in_channels // (4 if syncnet.config["latent_space"] else 3)
        if frames != syncnet.config["num_frames"]:
            raise UserError(
                f"model.syncnet takes {frames} frames, but num_frames={syncnet.config['num_frames']}; give "
                f"num_frames={frames}"
            )
        self.syncnet, self.seed = syncnet, seed
        if gradient_checkpointing:
            syncnet.enable_gradient_checkpointing()
        self.autoencoder = None if autoencoder is None else freeze(autoencoder)
        self.negatives_from_other_clips = negatives_from_other_clips
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler
        self.strict_loading = False  # the frozen autoencoder is not in the checkpoint
        self.val_cosines: list[Tensor] = []  # (2, B) of every batch of a validation: in sync, out of sync

    def cosine(self, frames: Tensor, mel: Tensor) -> Tensor:
        """Cosine (B,) between frames (B, F, C, H, W), pixels in [-1, 1] or latents, and mel (B, 1, 80, 52)."""
        return self.syncnet.cosine(frames, mel)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        generator = step_generator(self, self.seed, batch_idx)
        synced = torch.rand(len(batch.keys), generator=generator, device=self.device) < 0.5
        positive, negative = self.windows(batch, generator)
        frames = torch.where(synced[:, None, None, None, None], positive, negative)
        cosine = self.cosine(frames, batch.mel)
        loss = pair_loss(cosine, synced)
        accuracy = ((cosine > 0.5) == synced).float().mean()
        self.log_dict({"train/loss": loss, "train/accuracy": accuracy}, prog_bar=True, batch_size=len(batch.keys))
        return loss

    def on_validation_epoch_start(self) -> None:
        self.val_cosines = []

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        generator = torch.Generator(self.device).manual_seed(self.seed + batch_idx)
        cosine = torch.stack([self.cosine(frames, batch.mel) for frames in self.windows(batch, generator)])  # (2, B)
        synced = torch.tensor([[True], [False]], device=self.device).expand_as(cosine)
        accuracy = ((cosine > 0.5) == synced).float().mean()
        values = {"val/loss": pair_loss(cosine, synced), "val/accuracy": accuracy}
        self.log_dict(values, prog_bar=True, batch_size=len(batch.keys), sync_dist=True)
        self.val_cosines.append(cosine.float())

    @torch.no_grad()
    def windows(self, batch: ClipBatch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Frames in sync with the batch's mel, and frames that are not: both (B, F, C, H, W), pixels or latents.

        Raises UserError if the data lack what this SyncNet looks at, or other clips are asked for in a batch of one.
        """
        positive, negative = self.looked_at(batch, "target", generator), self.looked_at(batch, "reference", generator)
        if self.negatives_from_other_clips == 0:
            return positive, negative
        if len(batch.keys) < 2:
            raise UserError("model.negatives_from_other_clips needs other clips in the batch: set data.batch_size ≥ 2")
        other = torch.rand(len(batch.keys), generator=generator, device=self.device) < self.negatives_from_other_clips
        return positive, torch.where(other[:, None, None, None, None], positive.roll(1, 0), negative)

    def looked_at(self, batch: ClipBatch, window: str, generator: torch.Generator) -> Tensor:
        """A window of the batch ("target" or "reference") as SyncNet takes it, before resizing and folding."""
        frames: Tensor | None = getattr(batch, window)
        if not self.syncnet.config["latent_space"]:
            if frames is None:
                raise UserError("this SyncNet looks at pixels, but the data have none; set data.pixels=true")
            return frames
        assert self.autoencoder is not None
        moments: Tensor | None = getattr(batch, f"{window}_moments")
        if moments is not None:
            latents = self.autoencoder.sample_moments(moments, generator)
        elif frames is not None:
            latents = self.autoencoder.encode(frames, generator)
        else:
            raise UserError("the data have neither pixels nor latents; set data.pixels=true or data.latents=true")
        return latents.transpose(1, 2)  # (B, F, C, h, w)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:  # type: ignore[override]
        """SyncNet alone: the frozen autoencoder is named in the configuration."""
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if name.startswith("syncnet.")}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optimizer_config(self.syncnet.parameters(), self.make_optimizer, self.make_lr_scheduler)


def pair_loss(cosine: Tensor, synced: Tensor) -> Tensor:
    """Binary cross-entropy of cosines (any shape) clamped to [0, 1] against `synced` (bool), in float32.

    A mean over pairs: accumulating the gradients of equal batches is the same as one batch of them all.
    """
    with torch.autocast(cosine.device.type, enabled=False):
        return F.binary_cross_entropy(cosine.float().clamp(0, 1), synced.float())
