"""Train a Whisper-shaped encoder to hear the mouth: the embedded demo model's audio features come from here."""

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from latentsync.models.audio_encoder import AudioEncoder
from latentsync.training.optimization import LRSchedulerFactory, OptimizerFactory, optimizer_config


class AudioEncoderModule(lightning.LightningModule):
    """Regress the articulation (opening, width, rounding, closure) of synthetic speech from the last hidden layer.

    audio_encoder: AudioEncoder, all of whose weights are trained. num_targets: articulation values a step.
    A batch is (waves (B, N), targets (B, T, num_targets)) at 50 steps a second.
    """

    def __init__(
        self,
        audio_encoder: AudioEncoder,
        optimizer: OptimizerFactory,
        lr_scheduler: LRSchedulerFactory | None = None,
        num_targets: int = 4,
    ) -> None:
        super().__init__()
        self.audio_encoder = audio_encoder
        self.head = nn.Linear(audio_encoder.hidden_size, num_targets)
        self.make_optimizer, self.make_lr_scheduler = optimizer, lr_scheduler

    def predict(self, waves: Tensor) -> Tensor:
        """Articulation (B, T, num_targets) for 16 kHz waves (B, N), 50 steps a second."""
        hidden = self.audio_encoder.encode(self.audio_encoder.log_mel(waves))  # (B, 1500, layers + 1, D)
        return self.head(hidden[:, : waves.shape[1] // 320, -1])

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        waves, targets = batch
        loss = nn.functional.mse_loss(self.predict(waves), targets)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        waves, targets = batch
        predicted = self.predict(waves)
        for index, name in enumerate(("opening", "width", "rounding", "closure")):
            pair = torch.stack([predicted[..., index].flatten(), targets[..., index].flatten()])
            self.log(f"val/correlation_{name}", torch.corrcoef(pair)[0, 1], prog_bar=index == 0)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        return optimizer_config(self.parameters(), self.make_optimizer, self.make_lr_scheduler)
