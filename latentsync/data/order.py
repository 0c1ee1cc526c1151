"""In which order an epoch visits the clips, and which of them each rank gets: a pure function of seed and epoch."""

import numpy as np


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


def training_batches(
    order: np.ndarray, position: int, batch_size: int, rank: int, world_size: int
) -> list[tuple[int, ...]]:
    """The clips of each remaining batch of one rank, when all ranks together have consumed `position` clips.

    Step k of all ranks together takes the next batch_size · world_size clips, so every rank has equally many batches
    and no clip comes twice, whatever the number of shards, workers or ranks. The incomplete last step is dropped.
    """
    step = batch_size * world_size
    starts = range(position + rank * batch_size, len(order) - step + rank * batch_size + 1, step)
    return [tuple(int(clip) for clip in order[start : start + batch_size]) for start in starts]


def evaluation_batches(num_clips: int, batch_size: int, rank: int, world_size: int) -> list[tuple[int, ...]]:
    """The clips of each batch of one rank, in order; equally many clips on every rank, the last batch may be smaller.

    With one rank every clip is there; with more, up to world_size − 1 clips at the end are left out.
    """
    clips = range(rank, num_clips - num_clips % world_size, world_size)
    return [tuple(clips[start : start + batch_size]) for start in range(0, len(clips), batch_size)]
