"""Synthetic speech with its articulation, for training the embedded audio encoder."""

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from latentsync.data.articulation import draw_articulation
from latentsync.data.synthetic import HELD_OUT_IDENTITIES, SAMPLE_RATE, TRAIN_IDENTITIES, draw_identity
from latentsync.data.synthetic_voice import synthesise_voice

STEPS_PER_SECOND, FPS = 50, 25


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
        identity = draw_identity(int(rng.integers(self.identities.start, self.identities.stop)))
        voice = synthesise_voice(articulation, identity, rng, SAMPLE_RATE)
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
