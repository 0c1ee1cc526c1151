"""A preparation's result is put elsewhere whole, once, and without what it no longer has."""

import pytest
from s3_server import s3_server
from tiny_clips import tiny_clip, write_shards

from data_prep.assemble import SHARDS
from data_prep.manifest import MANIFEST_NAME
from data_prep.put import check_place, put_result
from data_prep.report import REPORT_NAME
from latentsync.data.shards import ShardSet
from latentsync.errors import UserError
from latentsync.storage import upload


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_shards(tmp_path / SHARDS / "train", [tiny_clip(f"c{i}") for i in range(5)], clips_per_shard=2)
    for name in (MANIFEST_NAME, REPORT_NAME):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_what_was_put_is_read_as_what_lies_here_and_only_what_is_new_is_put_again(prepared, tmp_path):
    with s3_server("bucket") as store:
        assert len(put_result(prepared, "s3://bucket/out/")) == 3
        there = f"s3://bucket/out/{SHARDS}/train"
        assert ShardSet(there).fingerprint() == ShardSet(prepared / SHARDS / "train").fingerprint()
        assert store.cat_file(f"bucket/out/{MANIFEST_NAME}") == MANIFEST_NAME.encode()
        assert put_result(prepared, "s3://bucket/out") == []

        for path in (prepared / SHARDS / "train").iterdir():
            path.unlink()
        write_shards(prepared / SHARDS / "train", [tiny_clip(f"c{i}") for i in (0, 1, 3)], clips_per_shard=2)
        assert put_result(prepared, "s3://bucket/out") == [f"{SHARDS}/train/clips-000001.tar"]
        assert ShardSet(there).fingerprint() == ShardSet(prepared / SHARDS / "train").fingerprint()


def test_an_upload_that_breaks_off_leaves_the_index_of_before(prepared, monkeypatch):
    with s3_server("bucket") as store:

        def broken(address, patience):
            system, path = filesystem(address, patience)
            if address.endswith("clips-000001.tar"):
                raise UserError("the disk of the store is full")
            return system, path

        filesystem = upload.filesystem
        monkeypatch.setattr(upload, "filesystem", broken)
        with pytest.raises(UserError, match="full"):
            put_result(prepared, "s3://bucket/out")
        assert [name.rpartition("/")[2] for name in store.ls(f"bucket/out/{SHARDS}/train")] == ["clips-000000.tar"]


@pytest.mark.parametrize("address", ["prepared", "https://host/folder"])
def test_a_place_that_takes_no_files_is_told_before_the_work(address):
    with pytest.raises(UserError, match=r"give the address of a folder at s3://"):
        check_place(address)
