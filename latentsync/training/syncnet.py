"""Train StableSyncNet: do these 16 frames belong to this sound? (LatentSync, Sec. 4)"""

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from latentsync.data.sample import ClipBatch
from latentsync.losses.sync import syncnet_frames
from latentsync.models.syncnet import StableSyncNet
from latentsync.training.optimization import LRSchedulerFactory, OptimizerFactory, optimizer_config
from latentsync.training.randomness import step_generator


class SyncNetModule(lightning.LightningModule):
    """Binary cross-entropy on the cosine of the two unit embeddings.

    A clip's target window is paired with its own mel (positive) or, with probability ½, the mel is paired with the
    clip's other window, which does not overlap it (negative). Accuracy counts cosine > 0.5 as "in sync".
    """

    def __init__(
        self,
        syncnet: StableSyncNet,
        optimizer: OptimizerFactory,
        lr_scheduler: LRSchedulerFactory | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.syncnet, self.seed = syncnet, seed
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler

    def cosine(self, frames: Tensor, mel: Tensor) -> Tensor:
        """Cosine (B,) between frames (B, F, 3, H, W) in [-1, 1] and mel (B, 1, 80, 52)."""
        vision, audio = self.syncnet(syncnet_frames(frames, self.syncnet), mel)
        return F.cosine_similarity(vision, audio)

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return self._step("train", batch, step_generator(self, self.seed, batch_idx))

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self._step("val", batch, torch.Generator(self.device).manual_seed(self.seed + batch_idx))

    def _step(self, stage: str, batch: ClipBatch, generator: torch.Generator) -> Tensor:
        assert batch.target is not None
        assert batch.reference is not None
        synced = torch.rand(len(batch.keys), generator=generator, device=self.device) < 0.5
        frames = torch.where(synced[:, None, None, None, None], batch.target, batch.reference)
        cosine = self.cosine(frames, batch.mel).float().clamp(0, 1)
        with torch.autocast(cosine.device.type, enabled=False):
            loss = F.binary_cross_entropy(cosine, synced.float())
        accuracy = ((cosine > 0.5) == synced).float().mean()
        values = {f"{stage}/loss": loss, f"{stage}/accuracy": accuracy}
        self.log_dict(values, prog_bar=True, batch_size=len(batch.keys), sync_dist=stage == "val")
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optimizer_config(self.parameters(), self.make_optimizer, self.make_lr_scheduler)
