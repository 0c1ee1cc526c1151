"""Shards in an S3 bucket: the batches of local ones, and one line for buckets that may not be read."""

import logging

import pytest
from s3_server import rights_checked, s3_server
from tiny_clips import SIZE, tiny_clip, write_shards

from latentsync.data.loader import ClipLoader
from latentsync.data.shards import ShardSet
from latentsync.data.windows import ClipWindows
from latentsync.errors import UserError
from latentsync.storage.addresses import Patience
from latentsync.storage.node_cache import NodeCache

QUICK = Patience(attempts=2, pause=0.01, silence=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, [tiny_clip(f"c{i:02d}") for i in range(12)], clips_per_shard=3)
    return folder


@pytest.fixture(scope="module")
def store(folder):
    with s3_server("bucket") as system:
        for path in folder.iterdir():
            system.put(str(path), f"bucket/clips/{path.name}")
            if path.suffix == ".tar":
                system.put(str(path), f"bucket/bare/{path.name}")
        yield system


@pytest.fixture
def cache(tmp_path):
    return NodeCache(tmp_path / "cache", 10**9, QUICK)


def trace(shards, num_workers=0):
    loader = ClipLoader(shards, ClipWindows(SIZE, 4, audio_tokens=False), 2, shuffle_buffer=4, num_workers=num_workers)
    found = [(tuple(batch.keys), batch.target.sum().item()) for batch in loader]
    loader.close()
    return found


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    "source",
    [
        "s3://bucket/clips",
        "s3://bucket/clips/clips-{000000..000003}.tar",
        "s3://bucket/clips/*.tar",
        "s3://bucket/bare/",
    ],
)
def test_batches_are_those_of_local_shards(folder, store, cache, source, num_workers):
    assert trace(ShardSet(source, cache=cache), num_workers) == trace(ShardSet(folder))


def test_a_missing_shard_and_one_that_does_not_fit_its_index_are_told_before_anything_is_fetched(folder, store, cache):
    for path in folder.iterdir():
        store.put(str(path), f"bucket/broken/{path.name}")
    store.rm("bucket/broken/clips-000001.tar")
    with pytest.raises(UserError, match=r"broken/clips-000001\.tar': there is no such file"):
        ShardSet("s3://bucket/broken/clips-{000000..000003}.tar", cache=cache)
    store.pipe("bucket/broken/clips-000001.tar", b"short")
    with pytest.raises(UserError, match=r"clips-000001\.tar': 5 bytes there, [\d,]+ in its index\.json"):
        ShardSet("s3://bucket/broken", cache=cache)
    assert not [path for path in cache.folder.iterdir() if path.name.endswith(".tar")]


def test_an_absent_bucket_is_one_line(store, cache):
    with pytest.raises(UserError, match=r"no such file|no \.tar shard there"):
        ShardSet("s3://nobodys-bucket/clips", cache=cache)
    with pytest.raises(UserError, match="no such file"):
        ShardSet("s3://nobodys-bucket/clips/a.tar", cache=cache)


@pytest.mark.parametrize("source", ["s3://bucket/clips", "s3://bucket/clips/clips-000000.tar"])
def test_absent_credentials_are_one_line(store, cache, source, monkeypatch, caplog):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    type(store).clear_instance_cache()
    with caplog.at_level(logging.CRITICAL), pytest.raises(UserError, match="no credentials; set AWS_ACCESS_KEY_ID"):
        ShardSet(source, cache=cache)
    type(store).clear_instance_cache()


@pytest.mark.parametrize("source", ["s3://bucket/clips", "s3://bucket/clips/clips-000000.tar"])
def test_a_bucket_without_rights_is_one_line(store, cache, source):
    with rights_checked(), pytest.raises(UserError, match=r"no right to read or write there .*set AWS_ACCESS_KEY_ID"):
        ShardSet(source, cache=cache)
