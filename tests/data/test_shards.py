"""Finding, checking and reading shards: every bad one has its one line."""

import contextlib
import json
import tarfile

import numpy as np
import pytest
from tiny_clips import tiny_clip, write_shards

from latentsync.data.sample import BadSample
from latentsync.data.shards import ShardSet
from latentsync.errors import UserError


@pytest.fixture
def folder(tmp_path):
    write_shards(tmp_path, [tiny_clip(f"c{i}") for i in range(6)], clips_per_shard=2)
    return tmp_path


def test_folder_file_glob_braces_and_list_find_the_same_shards(folder):
    expected = [folder / f"clips-00000{i}.tar" for i in range(3)]
    found = [shard.path for shard in ShardSet(folder).shards]
    assert found == expected
    for source in (str(folder / "*.tar"), str(folder / "clips-{000000..000002}.tar"), [str(path) for path in expected]):
        assert [shard.path for shard in ShardSet(source).shards] == expected
    assert [shard.path for shard in ShardSet(expected[1]).shards] == expected[1:2]


@pytest.mark.parametrize("name", ["", "nothing", "*.zip", "clips-{000002..000003}.tar"])
def test_no_shard_found_is_named(folder, name):
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.tar shard"):
        ShardSet(str(folder / (name or "empty")))


def test_an_empty_list_is_a_user_error():
    with pytest.raises(UserError, match="none given"):
        ShardSet([])


def test_clips_are_read_by_number_with_and_without_an_index(folder):
    with_index = ShardSet(folder)
    (folder / "index.json").unlink()
    scanned = ShardSet(folder)
    for shards in (with_index, scanned):
        assert [shards.key(i) for i in range(len(shards))] == [f"c{i}" for i in range(6)]
        assert shards.shard_numbers.tolist() == [0, 0, 1, 1, 2, 2]
        assert shards.num_frames.tolist() == [12] * 6
        assert shards.read(3).key == "c3"
        assert shards.read(3).video == tiny_clip("c3").video
    assert with_index.fingerprint() == scanned.fingerprint()


def test_shards_of_other_tools_are_read(tmp_path):
    write_shards(tmp_path / "own", [tiny_clip("a"), tiny_clip("b")])
    with tarfile.open(tmp_path / "own" / "clips-000000.tar") as source:
        for form, name in ((tarfile.PAX_FORMAT, "pax"), (tarfile.GNU_FORMAT, "gnu")):
            with tarfile.open(tmp_path / f"{name}.tar", "w", format=form) as target:
                for member in source.getmembers():
                    member.mtime = 1.5  # pax then writes an extended header
                    member.uname = "ü" * 20
                    target.addfile(member, source.extractfile(member))
    for name in ("pax", "gnu"):
        shards = ShardSet(tmp_path / f"{name}.tar")
        assert [shards.read(i).key for i in range(len(shards))] == ["a", "b"]


@pytest.mark.parametrize("kept", [0, 300, 512, 3000, -10240, -1])
def test_a_truncated_shard_is_named(folder, kept):
    path = folder / "clips-000001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) + kept if kept < 0 else kept])
    if kept == -1:  # only padding is gone, the end mark is there
        assert len(ShardSet(folder)) == 6
        return
    with pytest.raises(UserError, match=r"shard '.*clips-000001\.tar': unreadable or cut off"):
        ShardSet(folder)


def test_a_cut_at_any_block_is_never_taken_for_a_whole_shard(tmp_path):
    write_shards(tmp_path, [tiny_clip("a"), tiny_clip("b")])
    path = tmp_path / "clips-000000.tar"
    whole = path.read_bytes()
    last = json.loads((tmp_path / "index.json").read_text())["shards"][path.name]["clips"][-1]
    for end in range(0, last["offset"] + last["size"] + 1, 512):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match="unreadable or cut off"):
            ShardSet(path)


def test_a_file_that_is_no_tar_is_named(folder):
    (folder / "clips-000000.tar").write_bytes(b"not a tar at all" * 100)
    with pytest.raises(UserError, match=r"clips-000000\.tar"):
        ShardSet(folder)


def test_a_damaged_index_says_how_to_go_on(folder):
    (folder / "index.json").write_text('{"shards": 1}')
    with pytest.raises(UserError, match="delete it"):
        ShardSet(folder)


def test_short_clips_are_set_aside_and_counted(tmp_path):
    write_shards(tmp_path, [tiny_clip("long"), tiny_clip("short", num_frames=8), tiny_clip("long2")])
    shards = ShardSet(tmp_path, min_frames=12)
    assert [shards.key(i) for i in range(len(shards))] == ["long", "long2"]
    assert shards.set_aside == {"fewer than 12 frames": 1}


@pytest.mark.parametrize(("min_frames", "share"), [(12, 0.3), (13, 1.0)])
def test_not_enough_frames_in_the_shards_is_one_line_with_counts(tmp_path, min_frames, share):
    clips = [tiny_clip("long"), tiny_clip("short", num_frames=8)]
    write_shards(tmp_path, clips)
    with pytest.raises(UserError, match=rf"of 2 clips cannot be used \(\d × fewer than {min_frames} frames\)"):
        ShardSet(tmp_path, min_frames, share)


def test_a_shard_without_clips_is_a_user_error(tmp_path):
    write_shards(tmp_path, [])
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(UserError, match="no clip in there"):
        ShardSet(tmp_path)


@pytest.mark.parametrize("unsafe", ["../evil", "évil", "e" * 81])
def test_clips_without_metadata_or_with_unsafe_keys_are_set_aside(tmp_path, unsafe):
    write_shards(tmp_path, [tiny_clip("good"), tiny_clip("bare"), tiny_clip("evil"), tiny_clip("good2")])
    (tmp_path / "other").mkdir()
    with (
        tarfile.open(tmp_path / "clips-000000.tar") as source,
        tarfile.open(tmp_path / "other" / "x.tar", "w") as target,
    ):
        for member in source.getmembers():
            stream = source.extractfile(member)
            if member.name != "bare.json":
                member.name = member.name.replace("evil", unsafe)
                target.addfile(member, stream)
    shards = ShardSet(tmp_path / "other")
    assert [shards.key(i) for i in range(len(shards))] == ["good", "good2"]
    assert shards.set_aside == {"member missing: json": 1, "unsafe key": 1}


def test_bytes_changed_within_a_shard_are_a_bad_sample_not_a_crash(folder):
    path = folder / "clips-000000.tar"
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    shards = ShardSet(folder)
    for _ in range(50):
        damaged = bytearray(data)
        for place in rng.integers(0, 4096, 40):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)  # same size: the index still vouches for it
        with contextlib.suppress(BadSample):
            assert shards.read(0).key == "c0"
