"""Single frames of many synthetic heads, for training the embedded autoencoder."""

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, TRAIN_IDENTITIES, draw_clip


class SyntheticFrames(Dataset):
    """Item i: `frames_per_identity` random frames (N, 3, R, R) in [-1, 1] of one person, a new one for every item."""

    def __init__(self, identities: range, num_items: int, frames_per_identity: int, resolution: int, seed: int) -> None:
        self.identities, self.num_items, self.seed = identities, num_items, seed
        self.frames_per_identity, self.resolution = frames_per_identity, resolution

    def __len__(self) -> int:
        return self.num_items

    def __getitem__(self, index: int) -> Tensor:
        rng = np.random.default_rng((self.seed, index))
        person = int(rng.integers(self.identities.start, self.identities.stop))
        clip = draw_clip(person, 1.0, self.resolution, seed=index)
        chosen = rng.choice(len(clip.frames), self.frames_per_identity, replace=False)
        frames = torch.from_numpy(clip.frames[chosen]).permute(0, 3, 1, 2)
        return frames.float() / 127.5 - 1


class SyntheticFramesDataModule(lightning.LightningDataModule):
    """Batches of frames (batch_size · frames_per_identity, 3, R, R): training and held-out people."""

    def __init__(
        self,
        resolution: int,
        batch_size: int,
        frames_per_identity: int,
        num_batches: int,
        num_val_batches: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.batch_size, self.num_workers = batch_size, num_workers
        self.train = SyntheticFrames(TRAIN_IDENTITIES, batch_size * num_batches, frames_per_identity, resolution, seed)
        self.val = SyntheticFrames(
            HELD_OUT_IDENTITIES, batch_size * num_val_batches, frames_per_identity, resolution, seed + 1
        )

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, self.batch_size, num_workers=self.num_workers, collate_fn=torch.cat)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, self.batch_size, collate_fn=torch.cat)
