"""Order and sharing out of clips: permutations, equal shares, nothing twice."""

import numpy as np
import pytest

from latentsync.data.order import epoch_order, evaluation_batches, training_batches

SHARDS = np.repeat(np.arange(5), [3, 7, 1, 9, 4])
COUNT = len(SHARDS)


@pytest.mark.parametrize("buffer", [0, 1, 4, 24, 1000])
def test_each_epoch_is_a_permutation_and_a_function_of_seed_and_epoch(buffer):
    order = epoch_order(SHARDS, 1, 2, buffer)
    assert sorted(order) == list(range(COUNT))
    np.testing.assert_array_equal(order, epoch_order(SHARDS, 1, 2, buffer))
    if buffer:
        assert not np.array_equal(order, epoch_order(SHARDS, 1, 3, buffer))
        assert not np.array_equal(order, epoch_order(SHARDS, 2, 2, buffer))


def test_a_small_buffer_stays_near_the_order_of_the_shards():
    shards = np.repeat(np.arange(20), 50)
    order = epoch_order(shards, 0, 0, shuffle_buffer=10)
    place_in_shards = np.argsort(epoch_order(shards, 0, 0, shuffle_buffer=1))
    assert np.abs(place_in_shards[order] - np.arange(1000)).max() <= 10
    assert not np.array_equal(order, np.arange(1000))


@pytest.mark.parametrize(("batch_size", "world"), [(1, 1), (2, 3), (3, 4), (5, 2), (24, 1), (6, 4)])
def test_training_ranks_get_equally_many_batches_and_share_no_clip(batch_size, world):
    order = epoch_order(SHARDS, 0, 0, 100)
    ranks = [training_batches(order, 0, batch_size, rank, world) for rank in range(world)]
    steps = COUNT // (batch_size * world)
    assert [len(batches) for batches in ranks] == [steps] * world
    assert all(len(batch) == batch_size for batches in ranks for batch in batches)
    taken = [clip for batches in ranks for batch in batches for clip in batch]
    assert len(taken) == len(set(taken)) == steps * batch_size * world
    # Step by step, all ranks together take what one process with the whole batch takes.
    whole = training_batches(order, 0, batch_size * world, 0, 1)
    assert [sum((ranks[rank][step] for rank in range(world)), ()) for step in range(steps)] == list(whole)


def test_a_change_of_ranks_within_an_epoch_repeats_and_loses_nothing():
    order = epoch_order(SHARDS, 0, 0, 100)
    first = [clip for rank in range(2) for batch in training_batches(order, 0, 2, rank, 2)[:3] for clip in batch]
    rest = [clip for rank in range(3) for batch in training_batches(order, 12, 2, rank, 3) for clip in batch]
    assert sorted(first + rest) == list(range(COUNT))


@pytest.mark.parametrize(("batch_size", "world"), [(1, 1), (5, 1), (4, 3), (2, 5)])
def test_evaluation_ranks_get_equally_many_clips(batch_size, world):
    ranks = [evaluation_batches(COUNT, batch_size, rank, world) for rank in range(world)]
    taken = [clip for batches in ranks for batch in batches for clip in batch]
    assert len({tuple(map(len, batches)) for batches in ranks}) == 1
    assert sorted(taken) == list(range(COUNT - COUNT % world))
