"""The loader: no clip twice, equal shares, exact resume, bad clips set aside without a rank waiting."""

import logging

import pytest
import torch
from tiny_clips import SIZE, tiny_clip, write_shards

from latentsync.data.loader import ClipLoader
from latentsync.data.shards import ShardSet
from latentsync.data.windows import ClipWindows
from latentsync.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, [tiny_clip(f"c{i:02d}") for i in range(13)], clips_per_shard=5)
    return folder


def loader(folder, batch_size=2, seed=0, pixels=False, **arguments) -> ClipLoader:
    windows = ClipWindows(SIZE, 4, audio_tokens=False, pixels=pixels, seed=seed)
    return ClipLoader(ShardSet(folder, 12), windows, batch_size, **arguments)


def trace(batches) -> list[tuple]:
    """What identifies each batch: keys, starts, and what is in it."""
    return [
        (tuple(batch.keys), tuple(batch.start_frames.tolist()), tuple(batch.reference_starts.tolist()), batch.mel.sum())
        for batch in batches
    ]


def keys(batches) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def test_an_epoch_takes_every_clip_once_and_the_next_one_differs(folder):
    one = loader(folder, batch_size=1)
    assert len(one) == 13
    first, second = trace(one), trace(one)
    assert sorted(key for (key,), *_ in first) == [f"c{i:02d}" for i in range(13)]
    assert [step[0] for step in first] != [step[0] for step in second]
    assert one.epoch == 2


@pytest.mark.parametrize("num_workers", [0, 2])
def test_order_and_windows_do_not_depend_on_workers(folder, num_workers):
    assert trace(loader(folder, num_workers=num_workers)) == trace(loader(folder))


@pytest.mark.parametrize(("world", "batch_size"), [(2, 2), (5, 1), (4, 3)])
def test_ranks_share_no_clip_and_have_equally_many_batches(folder, world, batch_size):
    ranks = [list(loader(folder, batch_size, rank=rank, world_size=world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {13 // (world * batch_size)}
    taken = [key for batches in ranks for key in keys(batches)]
    assert len(taken) == len(set(taken)) == 13 // (world * batch_size) * world * batch_size


def test_ranks_together_take_what_one_process_takes(folder):
    whole = trace(loader(folder, batch_size=4))
    ranks = [trace(loader(folder, 2, rank=rank, world_size=2)) for rank in range(2)]
    for step, (batch, *_) in enumerate(whole):
        assert ranks[0][step][0] + ranks[1][step][0] == batch


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 4, 6, 8])
def test_resumed_loader_equals_uninterrupted_one(folder, num_workers, stop):
    def steps(source, count):
        found = []
        while len(found) < count:
            for batch in source:
                found.append(batch)
                if len(found) == count:
                    break
        return trace(found)

    uninterrupted = steps(loader(folder), 14)  # 6 steps an epoch
    stopped = loader(folder, num_workers=num_workers)
    before = steps(stopped, stop)
    resumed = loader(folder, num_workers=num_workers)
    resumed.load_state_dict(stopped.state_dict())
    assert before + steps(resumed, 14 - stop) == uninterrupted


def test_resuming_reads_no_clip_that_was_consumed(folder, tmp_path):
    write_shards(tmp_path, [tiny_clip(f"c{i}") for i in range(6)])
    first = loader(tmp_path)
    iterator = iter(first)
    consumed = next(iterator).keys + next(iterator).keys
    resumed = loader(tmp_path)
    resumed.load_state_dict(first.state_dict())
    read: list[str] = []
    original = resumed.shards.read
    resumed.shards.read = lambda index: read.append(resumed.shards.key(index)) or original(index)
    list(resumed)
    assert sorted(read + consumed) == [f"c{i}" for i in range(6)]


def test_another_number_of_ranks_continues_the_epoch(folder):
    ranks = [loader(folder, 1, rank=rank, world_size=3) for rank in range(3)]
    first = [next(iter(rank)).keys[0] for rank in ranks]
    rest = []
    for rank in range(2):
        resumed = loader(folder, 1, rank=rank, world_size=2)
        resumed.load_state_dict(ranks[0].state_dict())
        rest += keys(resumed)
    assert len(rest) == 10
    assert len(set(first + rest)) == 13


def test_more_ranks_than_clips_left_start_the_next_epoch(folder):
    one = loader(folder, 1)
    iterator = iter(one)
    for _ in range(12):
        next(iterator)
    resumed = loader(folder, 2, world_size=2)
    resumed.load_state_dict(one.state_dict())
    assert len(list(resumed)) == 3
    assert resumed.epoch == 2


def test_changed_clips_start_the_epoch_anew_with_a_warning(folder, tmp_path, caplog):
    one = loader(folder)
    next(iter(one))
    write_shards(tmp_path, [tiny_clip(f"d{i}") for i in range(4)])
    other = loader(tmp_path)
    with caplog.at_level(logging.WARNING):
        other.load_state_dict(one.state_dict())
    assert "clips changed since the checkpoint" in caplog.text
    assert len(list(other)) == 2


def test_evaluation_is_the_same_each_time_and_takes_all_clips_in_order(folder):
    held_out = loader(folder, 4, shuffle=False, num_workers=2)
    first = trace(held_out)
    assert [len(step[0]) for step in first] == [4, 4, 4, 1]
    assert [key for step in first for key in step[0]] == [f"c{i:02d}" for i in range(13)]
    assert trace(held_out) == first


def test_torchs_global_randomness_is_left_alone(folder):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(loader(folder, num_workers=2))
    assert torch.rand(1) == expected


def test_a_batch_has_the_contracts_shapes(folder):
    batch = next(iter(loader(folder, 3, pixels=True)))
    assert batch.target.shape == batch.reference.shape == (3, 4, 3, SIZE, SIZE)
    assert batch.mel.shape == (3, 1, 80, 13)
    assert batch.start_frames.shape == (3,)


@pytest.fixture(scope="module")
def partly_bad(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    clips = [tiny_clip(f"c{i:02d}") for i in range(20)]
    clips[3].video = b"damaged"
    clips[7].audio = b"RIFFdamaged"
    write_shards(folder, clips, clips_per_shard=6)
    return folder


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_clips_are_set_aside_by_reason_and_batches_stay_full(partly_bad, num_workers):
    one = loader(partly_bad, 2, pixels=True, num_workers=num_workers)
    batches = list(one)
    assert [len(batch) for batch in batches] == [2] * 10
    assert set(one.set_aside) == {"c03", "c07"}
    assert "video cannot be decoded" in one.set_aside["c03"]
    assert "audio cannot be decoded" in one.set_aside["c07"]
    assert not {"c03", "c07"} & set(keys(batches))
    assert trace(loader(partly_bad, 2, pixels=True)) == trace(batches)


def test_one_ranks_bad_clip_does_not_shorten_its_epoch(partly_bad):
    ranks = [list(loader(partly_bad, 2, pixels=True, rank=rank, world_size=2)) for rank in range(2)]
    assert [len(batch) for batches in ranks for batch in batches] == [2] * 10


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_bad_clips_end_the_run_with_counts(tmp_path, num_workers):
    clips = [tiny_clip(f"c{i}", **({"video": b"bad"} if i % 2 else {})) for i in range(10)]
    write_shards(tmp_path, clips)
    one = loader(tmp_path, 2, pixels=True, max_bad_share=0.2, num_workers=num_workers)
    with pytest.raises(UserError, match=r"[3-5] of 10 clips cannot be used \([3-5] × video cannot be decoded"):
        list(one)


def test_only_bad_clips_end_the_run(tmp_path):
    write_shards(tmp_path, [tiny_clip(f"c{i}", video=b"bad") for i in range(4)])
    with pytest.raises(UserError, match="video cannot be decoded"):
        list(loader(tmp_path, 2, pixels=True, max_bad_share=1.0))


def test_fewer_clips_than_one_step_takes_is_a_user_error(folder):
    with pytest.raises(UserError, match=r"13 usable clips, but one step on 4 ranks takes 16"):
        loader(folder, 4, world_size=4)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_audio_encoder_that_is_not_there_is_one_line(folder, tmp_path, num_workers):
    windows = ClipWindows(SIZE, 4, audio_encoder=tmp_path / "absent", pixels=False)
    one = ClipLoader(ShardSet(folder), windows, 2, num_workers=num_workers)
    with pytest.raises(UserError, match="absent"):
        list(one)
