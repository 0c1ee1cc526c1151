"""In which order an epoch visits the clips, and which of them each rank gets: a pure function of seed and epoch."""

from collections.abc import Sequence
from typing import overload

import numpy as np


class Batches(Sequence[tuple[int, ...]]):
    """The clips of each batch of one rank; made as they are asked for, an epoch may have a million.

    order: (n,) int64, clips; starts: where in it each batch begins; batch_size, stride: it takes every `stride`-th of
    the following, `batch_size` at most.
    """

    def __init__(self, order: np.ndarray, starts: range, batch_size: int, stride: int = 1) -> None:
        self._order, self._starts, self._batch_size, self._stride = order, starts, batch_size, stride

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> "Batches": ...
    def __getitem__(self, index: int | slice) -> "tuple[int, ...] | Batches":
        if isinstance(index, slice):
            return Batches(self._order, self._starts[index], self._batch_size, self._stride)
        start = self._starts[index]
        clips = self._order[start : start + self._batch_size * self._stride : self._stride]
        return tuple(int(clip) for clip in clips)

    def spans(self, group_of: np.ndarray) -> list[tuple[int, int, int]]:
        """(first batch, last batch, group) of each group of clips, in the order in which batches come to them.
        group_of: (n,) int."""
        places = np.asarray(self._starts)[:, None] + self._stride * np.arange(self._batch_size)  # (batches, batch_size)
        flat = np.minimum(places.reshape(-1), len(self._order) - 1)  # the last batch may be smaller
        found = group_of[self._order[flat]]
        groups, first = np.unique(found, return_index=True)
        _, from_behind = np.unique(found[::-1], return_index=True)
        last = len(found) - 1 - from_behind
        batch_of = [numbers // self._batch_size for numbers in (first, last)]
        order = np.argsort(first)
        return [(int(batch_of[0][i]), int(batch_of[1][i]), int(groups[i])) for i in order]


def epoch_order(shard_numbers: np.ndarray, seed: int, epoch: int, shuffle_buffer: int) -> np.ndarray:
    """A permutation of the clips.

    shard_numbers: (n,) the shard in which each clip lies. shuffle_buffer: about how far, in clips, a clip may come from
    its place in its shard; a finite one keeps reading near-sequential (for shards on a network disk or more data than
    memory), one of n or more is a uniform shuffle, 0 is no shuffle. Returns (n,) int64.
    """
    count = len(shard_numbers)
    if shuffle_buffer <= 0:
        return np.arange(count)
    generator = np.random.default_rng((seed, epoch))
    if shuffle_buffer >= count:
        return generator.permutation(count)
    shard_places = generator.permutation(int(shard_numbers.max()) + 1)
    by_shard = np.argsort(shard_places[shard_numbers], kind="stable")
    jittered = np.arange(count) + generator.uniform(0, shuffle_buffer, count)
    return by_shard[np.argsort(jittered, kind="stable")]


def training_batches(order: np.ndarray, position: int, batch_size: int, rank: int, world_size: int) -> Batches:
    """The clips of each remaining batch of one rank, when all ranks together have consumed `position` clips.

    Step k of all ranks together takes the next batch_size · world_size clips, so every rank has equally many batches
    and no clip comes twice, whatever the number of shards, workers or ranks. The incomplete last step is dropped.
    """
    step = batch_size * world_size
    starts = range(position + rank * batch_size, len(order) - step + rank * batch_size + 1, step)
    return Batches(order, starts, batch_size)


def evaluation_batches(num_clips: int, batch_size: int, rank: int, world_size: int) -> Batches:
    """The clips of each batch of one rank, in order; equally many clips on every rank, the last batch may be smaller.

    With one rank every clip is there; with more, up to world_size − 1 clips at the end are left out.
    """
    shared = num_clips - num_clips % world_size
    return Batches(np.arange(shared), range(rank, shared, batch_size * world_size), batch_size, world_size)
