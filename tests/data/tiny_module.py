"""A LightningModule of three weights on clips, for tests of what surrounds training."""

from pathlib import Path

import lightning
import torch
from torch import Tensor, nn

from latentsync.data.datamodule import ClipDataModule
from latentsync.data.sample import ClipBatch


class TinyModule(lightning.LightningModule):
    """Follows the loudness of the clips and torch's global random numbers; one weight is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        self.validated: list[Tensor] = []
        self.trajectory: list[Tensor] = []

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        return (self.weight - batch.mel.mean() - batch.start_frames.float().mean() - torch.rand(3)).square().sum()

    def on_train_batch_end(self, *_: object) -> None:
        self.trajectory.append(self.weight.detach().clone())

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        self.validated.append(self.weight.detach().clone())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([self.weight], lr=0.1)


def tiny_data(shards: Path) -> ClipDataModule:
    return ClipDataModule(
        shards, shards, num_frames=2, batch_size=1, num_workers=0, resolution=64, audio_tokens=False, pixels=False
    )
