"""The LightningDataModule of clips in shards, for the U-Net, SyncNet and the small networks alike."""

import logging
from collections import Counter
from typing import Any

import lightning
import torch

from latentsync.data.loader import ClipLoader
from latentsync.data.sample import ClipBatch
from latentsync.data.shards import CACHE_GB, ShardSet, ShardSource, reasons
from latentsync.data.windows import ClipWindows
from latentsync.errors import UserError
from latentsync.storage.node_cache import GB, NodeCache

log = logging.getLogger(__name__)


class ClipDataModule(lightning.LightningDataModule):
    """Batches (`ClipBatch`) of clip windows.

    train_shards, val_shards: folder, file, glob, brace pattern, or list of them, as paths or addresses (https://,
                    s3://, gs://, hf://datasets/…); None: no such loader.
    num_frames:     F, frames in a window.
    batch_size:     windows a rank and step.
    num_workers:    reading processes a rank, no more than there are clips; 0 reads in the training process.
    resolution:     height and width of frames, pixels; clips of another size are resized.
    min_frames:     shorter clips are set aside; default 3 · num_frames (the published rule for the U-Net; for SyncNet
                    it is 2 · num_frames), at least num_frames + reference_distance.
    reference_distance: least number of frames between the starts of the target and the reference window; default
                    num_frames: they do not overlap. For SyncNet: how near a negative may be.
    shuffle_buffer: how far clips are shuffled, in clips; see `order.epoch_order`.
    seed:           of order and windows.
    audio_tokens:   whether batches have audio tokens.
    audio_encoder:  folder of the audio encoder, for clips that do not store their tokens.
    pixels:         whether frames are decoded; off when stored latents are all that is needed.
    latents:        whether stored posterior moments are read.
    max_bad_share:  share of the clips that may turn out unusable before the run ends, 0 to 1.
    pin_memory:     page-locked batches, for a faster way to the GPU.
    cache_dir:      folder for copies of remote shards, on a disk of this machine; all its runs may share it. None:
                    `node_cache.default_folder()`.
    cache_gb:       how much it holds, 10⁹ bytes; the least recently used shards go. A shard comes once an epoch as long
                    as there is room for those that the shuffle has open, about shuffle_buffer clips.

    The training loader resumes exactly, within an epoch, through Lightning's checkpoints.
    Raises UserError for arguments out of range, shards that cannot be read and too few usable clips.
    """

    def __init__(
        self,
        train_shards: ShardSource | None = None,
        val_shards: ShardSource | None = None,
        num_frames: int = 16,
        batch_size: int = 4,
        num_workers: int = 2,
        resolution: int = 256,
        min_frames: int | None = None,
        shuffle_buffer: int = 4096,
        seed: int = 0,
        audio_tokens: bool = True,
        audio_encoder: str | None = None,
        pixels: bool = True,
        latents: bool = False,
        max_bad_share: float = 0.5,
        pin_memory: bool = False,
        reference_distance: int | None = None,
        cache_dir: str | None = None,
        cache_gb: float = CACHE_GB,
    ) -> None:
        super().__init__()
        reference_distance = num_frames if reference_distance is None else reference_distance
        for name, value, least in (
            ("num_frames", num_frames, 1),
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("resolution", resolution, 8),
            ("shuffle_buffer", shuffle_buffer, 0),
            ("seed", seed, 0),
            ("reference_distance", reference_distance, 1),
        ):
            if value < least:
                raise UserError(f"{name}={value}: give a number of at least {least}")
        if not 0 <= max_bad_share <= 1:
            raise UserError(f"max_bad_share={max_bad_share}: give a share from 0 to 1")
        if not 0 < cache_gb < float("inf"):
            raise UserError(f"cache_gb={cache_gb}: give 10⁹ bytes above 0")
        self.cache = NodeCache(cache_dir, int(cache_gb * GB))
        self.train_shards = train_shards
        self.val_shards = val_shards
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.min_frames = max(num_frames + reference_distance, 3 * num_frames if min_frames is None else min_frames)
        self.shuffle_buffer = shuffle_buffer
        self.max_bad_share = max_bad_share
        self.pin_memory = pin_memory
        self.windows = ClipWindows(
            resolution, num_frames, audio_encoder, audio_tokens, pixels, latents, seed, reference_distance
        )
        self._loaders: dict[str, ClipLoader] = {}
        self._shard_sets: dict[str, ShardSet] = {}

    def prepare_data(self) -> None:
        """Find the clips now: what is wrong with the shards is told before a run makes its folder."""
        for part, source in (("train", self.train_shards), ("val", self.val_shards)):
            if source is not None:
                self._shard_set(part, source)

    def train_set(self) -> ShardSet:
        """The usable training clips. Raises UserError where there are none."""
        if self.train_shards is None:
            raise UserError("train_shards: not given; give a folder of .tar shards")
        return self._shard_set("train", self.train_shards)

    def train_dataloader(self) -> ClipLoader:
        """This rank's training batches."""
        return self._loader("train", self.train_shards)

    def val_dataloader(self) -> ClipLoader | list[ClipLoader]:
        """This rank's validation batches, the same ones each time; an empty list without val_shards."""
        return [] if self.val_shards is None else self._loader("val", self.val_shards)

    def _loader(self, part: str, source: ShardSource | None) -> ClipLoader:
        if part in self._loaders:  # asked again within a run: it goes on
            return self._loaders[part]
        if source is None:
            raise UserError(f"{part}_shards: not given; give a folder of .tar shards")
        trainer = self.trainer
        self._loaders[part] = ClipLoader(
            self._shard_set(part, source),
            self.windows,
            self.batch_size,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            num_workers=min(self.num_workers, len(self._shard_set(part, source))),
            shuffle=part == "train",
            shuffle_buffer=self.shuffle_buffer,
            max_bad_share=self.max_bad_share,
            pin_memory=self.pin_memory,
        )
        return self._loaders[part]

    def _shard_set(self, part: str, source: ShardSource) -> ShardSet:
        if part not in self._shard_sets:
            found = self._shard_sets[part] = ShardSet(source, self.min_frames, self.max_bad_share, self.cache)
            if self.num_workers > (clips := len(found)):
                log.warning(
                    "%s shards: of num_workers=%d, %d read: there are %d clips", part, self.num_workers, clips, clips
                )
        return self._shard_sets[part]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The batch there, with its pixels as numbers: see `ClipBatch.on_device`."""
        moved = super().transfer_batch_to_device(batch, device, dataloader_idx)
        return moved.on_device() if isinstance(moved, ClipBatch) else moved

    def teardown(self, stage: str) -> None:
        """Report the clips that were set aside; end the worker processes."""
        for part, loader in self._loaders.items():
            counts = loader.shards.set_aside + Counter(loader.set_aside.values())
            if counts:
                log.warning("%s shards: %d clips were set aside (%s)", part, counts.total(), reasons(counts))
            loader.close()
        self._loaders = {}

    def on_exception(self, exception: BaseException) -> None:
        """End the worker processes of a run that failed."""
        for loader in self._loaders.values():
            loader.close()
        self._loaders = {}
