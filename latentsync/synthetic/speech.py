"""Synthetic speech with its articulation, and the training of an audio encoder that hears the mouth in it."""

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from latentsync.media.rates import FPS, SAMPLE_RATE
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.synthetic.articulation import draw_articulation
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, TRAIN_IDENTITIES, draw_person
from latentsync.synthetic.voice import synthesise_voice
from latentsync.training.optimization import LRSchedulerFactory, OptimizerFactory, optimizer_config

STEPS_PER_SECOND = 50


class SyntheticSpeech(Dataset):
    """(wave (N,), targets (T, 4)) pairs of one length: opening, width, rounding and closure at 50 steps a second.

    identities: voices to draw from. seconds: length of a clip. num_clips: how many there are; each is made once.
    """

    def __init__(self, identities: range, seconds: float, num_clips: int, seed: int) -> None:
        self.identities, self.seconds, self.num_clips, self.seed = identities, seconds, num_clips, seed
        self._made: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index not in self._made:
            self._made[index] = self.draw(index)
        return self._made[index]

    def draw(self, index: int) -> tuple[Tensor, Tensor]:
        """Clip number `index`; the last part of it is cut off at random and left silent, as short audio is padded."""
        rng = np.random.default_rng((self.seed, index))
        num_frames = round(self.seconds * FPS)
        spoken = int(rng.integers(num_frames // 10, num_frames + 1))
        articulation = draw_articulation(spoken, rng)
        person = draw_person(int(rng.integers(self.identities.start, self.identities.stop)))
        voice = synthesise_voice(articulation, person.voice, rng, SAMPLE_RATE)
        wave = np.zeros(round(self.seconds * SAMPLE_RATE), np.float32)
        wave[: len(voice)] = voice * rng.uniform(0.3, 2.0)
        track = articulation.at((np.arange(spoken * 2) + 0.5) / STEPS_PER_SECOND)
        targets = np.zeros((num_frames * 2, 4), np.float32)
        targets[:, 3] = 1  # silence after the speech: lips shut
        targets[: spoken * 2] = np.stack([track.opening, track.width, track.rounding, track.closure], axis=1)
        return torch.from_numpy(wave), torch.from_numpy(targets)


class SyntheticSpeechDataModule(lightning.LightningDataModule):
    """Train on the training identities' voices, validate on held-out ones. All clips stay in memory (2 MB each)."""

    def __init__(self, batch_size: int, num_clips: int, num_val_clips: int, seconds: float, seed: int) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.train = SyntheticSpeech(TRAIN_IDENTITIES, seconds, num_clips, seed)
        self.val = SyntheticSpeech(HELD_OUT_IDENTITIES, seconds, num_val_clips, seed + 1)

    def train_dataloader(self) -> DataLoader:
        order = torch.Generator().manual_seed(self.seed)
        return DataLoader(self.train, self.batch_size, shuffle=True, generator=order)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, self.batch_size)


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
