"""Shards are whole or not there, deterministic, and readable by webdataset."""

import hashlib
import json
import tarfile

import numpy as np
import pytest
import webdataset
from tiny_clips import tiny_clip, write_shards

from latentsync.data.sample import BadSample, from_members
from latentsync.data.shard_writer import ShardWriter
from latentsync.errors import UserError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_webdataset_reads_what_was_written(tmp_path):
    samples = [tiny_clip(f"clip{i}", mel=np.full((80, 40), i)) for i in range(3)]
    write_shards(tmp_path, samples, clips_per_shard=2)
    assert names(tmp_path) == ["clips-000000.tar", "clips-000001.tar", "index.json"]
    urls = [str(tmp_path / name) for name in names(tmp_path)[:2]]
    read = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [sample["__key__"] for sample in read] == ["clip0", "clip1", "clip2"]
    for sample, raw in zip(samples, read, strict=True):
        back = from_members(raw["__key__"], raw)
        assert (back.video, back.audio, back.metadata) == (sample.video, sample.audio, sample.metadata)
        np.testing.assert_array_equal(back.mel, sample.mel)


def test_the_same_clips_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_shards(tmp_path / name, [tiny_clip(f"c{i}") for i in range(3)], clips_per_shard=2)
    for name in names(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with tarfile.open(tmp_path / "one" / "clips-000000.tar") as shard:
        member = shard.getmembers()[0]
    assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


def test_the_index_tells_size_checksum_and_frames(tmp_path):
    write_shards(tmp_path, [tiny_clip("a"), tiny_clip("b", num_frames=9)])
    shard = json.loads((tmp_path / "index.json").read_text())["shards"]["clips-000000.tar"]
    data = (tmp_path / "clips-000000.tar").read_bytes()
    assert shard["bytes"] == len(data)
    assert shard["sha256"] == hashlib.sha256(data).hexdigest()
    assert [(clip["key"], clip["num_frames"]) for clip in shard["clips"]] == [("a", 12), ("b", 9)]


def write_three_and_raise(folder, error):
    with ShardWriter(folder, 2) as writer:
        for i in range(3):
            writer.write(tiny_clip(f"c{i}"))
        assert ".clips-000001.tar.part" in names(folder)
        raise error


def test_an_exception_leaves_finished_shards_and_no_part(tmp_path):
    with pytest.raises(RuntimeError):
        write_three_and_raise(tmp_path, RuntimeError())
    assert names(tmp_path) == ["clips-000000.tar", "index.json"]


def test_resume_goes_on_after_finished_shards(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_three_and_raise(tmp_path, KeyboardInterrupt())
    with ShardWriter(tmp_path, 2, resume=True) as writer:
        assert writer.keys == {"c0", "c1"}
        for i in range(4):
            if f"c{i}" not in writer.keys:
                writer.write(tiny_clip(f"c{i}"))
    write_shards(tmp_path / "whole", [tiny_clip(f"c{i}") for i in range(4)], clips_per_shard=2)
    for name in names(tmp_path / "whole"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_resume_after_a_kill_clears_the_part_and_rebuilds_the_index(tmp_path):
    write_shards(tmp_path, [tiny_clip("a")])
    index = (tmp_path / "index.json").read_bytes()
    (tmp_path / "index.json").unlink()  # a killed writer never came to write it
    (tmp_path / ".clips-000001.tar.part").write_bytes(b"half")
    with ShardWriter(tmp_path, 4, resume=True) as writer:
        assert writer.keys == {"a"}
    assert names(tmp_path) == ["clips-000000.tar", "index.json"]
    assert (tmp_path / "index.json").read_bytes() == index


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    write_shards(tmp_path, [tiny_clip("a")])
    with pytest.raises(UserError, match="not empty"):
        ShardWriter(tmp_path, 4)


def test_repeated_and_unsafe_keys_are_refused(tmp_path):
    with ShardWriter(tmp_path, 1) as writer:
        writer.write(tiny_clip("a"))
        with pytest.raises(UserError, match="'a': already in"):
            writer.write(tiny_clip("a"))
        with pytest.raises(UserError, match="clip key"):
            writer.write(tiny_clip("../a"))
        with pytest.raises(BadSample, match="lacks 'source'"):
            writer.write(tiny_clip("b", metadata={}))
    assert names(tmp_path) == ["clips-000000.tar", "index.json"]


@pytest.mark.parametrize("arguments", [{"clips_per_shard": 0}, {"prefix": "a/b"}])
def test_bad_arguments_are_user_errors(tmp_path, arguments):
    with pytest.raises(UserError, match=next(iter(arguments))):
        ShardWriter(tmp_path, **arguments)


def test_a_file_in_the_place_of_the_folder_is_a_user_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="file"):
        ShardWriter(tmp_path / "file", 4)


def test_a_block_that_fails_before_a_shard_is_whole_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="keys must be unique"):
        write_shards(tmp_path / "out", [tiny_clip("a"), tiny_clip("a")])
    assert list((tmp_path / "out").iterdir()) == []
