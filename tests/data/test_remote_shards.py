"""Shards elsewhere give the batches of local ones: found, fetched once, checked; what is wrong is one line."""

import json
import logging

import pytest
from file_server import FileServer
from tiny_clips import SIZE, tiny_clip, write_shards

from latentsync.data.loader import ClipLoader
from latentsync.data.shards import ShardSet
from latentsync.data.windows import ClipWindows
from latentsync.errors import UserError
from latentsync.storage.addresses import Patience
from latentsync.storage.node_cache import NodeCache

CLIPS, SHARDS = 21, 7
QUICK = Patience(attempts=3, pause=0.01, silence=1)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "there"
    clips = [tiny_clip(f"c{i:02d}") for i in range(CLIPS)]
    clips[4].video = b"damaged"
    write_shards(folder, clips, clips_per_shard=CLIPS // SHARDS)
    return folder


@pytest.fixture
def server(folder):
    with FileServer(folder) as server:
        yield server


@pytest.fixture
def cache(tmp_path):
    return NodeCache(tmp_path / "cache", 10**9, QUICK)


def sent(server) -> dict[str, int]:
    return {name: count for name, count in server.sent.items() if name.endswith(".tar")}


def loader(shards, num_workers=0, rank=0, world_size=1, shuffle_buffer=6) -> ClipLoader:
    windows = ClipWindows(SIZE, 4, audio_tokens=False)
    return ClipLoader(shards, windows, 2, rank, world_size, num_workers, shuffle_buffer=shuffle_buffer)


def trace(batches) -> list[tuple]:
    return [(tuple(batch.keys), batch.target.sum().item(), batch.mel.sum().item()) for batch in batches]


PATTERN = "clips-{000000..000006}.tar"


def test_pattern_folder_and_list_find_the_same_clips_as_the_local_folder(folder, server, cache):
    local = ShardSet(folder)
    for source in (server.url, f"{server.url}/", f"{server.url}/{PATTERN}", [f"{server.url}/{PATTERN}"]):
        shards = ShardSet(source, cache=cache)
        assert shards.fingerprint() == local.fingerprint()
        assert shards.shard_numbers.tolist() == local.shard_numbers.tolist()
        assert shards.num_frames.tolist() == local.num_frames.tolist()
    assert sent(server) == {}, "with an index no shard is needed to know the clips"


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("indexed", [True, False])
def test_batches_are_those_of_local_shards_and_each_shard_comes_once(folder, server, cache, num_workers, indexed):
    expected = trace(loader(ShardSet(folder)))
    if not indexed:
        (folder / "index.json").unlink()
    shards = ShardSet(f"{server.url}/{PATTERN}", cache=cache)
    one = loader(shards, num_workers)
    assert trace(one) == expected
    assert trace(one) != expected, "the second epoch is another one"
    one.close()
    assert sent(server) == {path.name: path.stat().st_size for path in folder.glob("*.tar")}


def test_the_ranks_of_a_node_share_the_copies(folder, server, cache):
    shards = ShardSet(server.url, cache=cache)
    for rank in range(2):
        local, remote = (loader(shards, rank=rank, world_size=2) for shards in (ShardSet(folder), shards))
        assert trace(remote) == trace(local)
    assert sent(server) == {path.name: path.stat().st_size for path in folder.glob("*.tar")}


def test_a_remote_epoch_is_resumed_as_a_local_one(folder, server, cache):
    expected = trace(loader(ShardSet(folder)))
    first = loader(ShardSet(folder))
    iterator = iter(first)
    before = [next(iterator) for _ in range(4)]
    resumed = loader(ShardSet(server.url, cache=cache))
    resumed.load_state_dict(first.state_dict())
    assert trace(before) + trace(resumed) == expected


def test_with_a_cache_of_two_shards_the_batches_stay_the_same_and_a_line_tells(folder, server, tmp_path, caplog):
    largest = max(path.stat().st_size for path in folder.glob("*.tar"))
    small = NodeCache(tmp_path / "small", 2 * largest, QUICK)
    with caplog.at_level(logging.WARNING):
        assert trace(loader(ShardSet(server.url, cache=small), shuffle_buffer=12)) == trace(
            loader(ShardSet(folder), shuffle_buffer=12)
        )
    assert "raise it or lower data.shuffle_buffer" in caplog.text


def test_without_shuffling_a_cache_of_two_shards_is_enough_for_each_to_come_once(folder, server, tmp_path):
    largest = max(path.stat().st_size for path in folder.glob("*.tar"))
    small = NodeCache(tmp_path / "small", 3 * largest, QUICK)
    assert len(list(loader(ShardSet(server.url, cache=small), shuffle_buffer=0))) == CLIPS // 2
    assert sent(server) == {path.name: path.stat().st_size for path in folder.glob("*.tar")}


@pytest.mark.parametrize("fault", ["stall", "cut", 503])
def test_a_server_that_falters_changes_no_batch(folder, server, cache, fault):
    for path in folder.glob("*.tar"):
        server.faults[path.name] += [fault]
    assert trace(loader(ShardSet(server.url, cache=cache))) == trace(loader(ShardSet(folder)))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_shard_that_changes_in_the_middle_of_an_epoch_ends_the_run_with_one_line(folder, server, cache, num_workers):
    one = loader(ShardSet(server.url, cache=NodeCache(cache.folder, 1, QUICK)), num_workers, shuffle_buffer=0)
    path = folder / "clips-000005.tar"
    path.write_bytes(path.read_bytes().replace(b"c15", b"x15"))
    with pytest.raises(UserError, match=r"clips-000005\.tar': its SHA-256 is not the one in its index"):
        list(one)
    one.close()


def test_a_shard_without_index_that_changes_later_ends_the_run_with_one_line(folder, server, tmp_path):
    (folder / "index.json").unlink()
    one = loader(ShardSet(f"{server.url}/{PATTERN}", cache=NodeCache(tmp_path / "small", 1, QUICK)), shuffle_buffer=0)
    path = folder / "clips-000005.tar"
    path.write_bytes(path.read_bytes()[:-512] + bytes(512))
    with pytest.raises(UserError, match=r"clips-000005\.tar': it has changed since this run found it"):
        list(one)


def test_a_shard_that_is_missing_in_the_middle_of_a_pattern_is_named(folder, server, cache):
    (folder / "clips-000003.tar").unlink()
    index = json.loads((folder / "index.json").read_text())
    del index["shards"]["clips-000003.tar"]
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"clips-000003\.tar': there is no such file"):
        ShardSet(f"{server.url}/{PATTERN}", cache=cache)
    assert sent(server) == {}


def test_a_shard_that_the_index_promises_in_vain_ends_the_run_with_one_line(folder, server, cache):
    (folder / "clips-000003.tar").unlink()
    with pytest.raises(UserError, match=r"clips-000003\.tar': there is no such file"):
        list(loader(ShardSet(f"{server.url}/{PATTERN}", cache=cache)))


def test_an_index_that_does_not_fit_its_shard_is_one_line(folder, server, cache):
    path = folder / "clips-000000.tar"
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(UserError, match=r"clips-000000\.tar': [\d,]+ bytes there, [\d,]+ in its index"):
        list(loader(ShardSet(server.url, cache=cache)))


def test_a_damaged_index_is_one_line(folder, server, cache):
    (folder / "index.json").write_text('{"version": 1, "shards": {"a.tar": 1}}')
    with pytest.raises(UserError, match=r"index '.*index\.json': not a shard index of version 1; write it again"):
        ShardSet(server.url, cache=cache)


def test_a_new_index_is_seen_at_the_next_start(folder, tmp_path, cache):
    for marks in (True, False):
        with FileServer(folder, marks=marks) as server:
            assert len(ShardSet(server.url, cache=cache)) == CLIPS
            index = json.loads((folder / "index.json").read_text())
            whole = json.dumps(index)
            del index["shards"]["clips-000006.tar"]
            (folder / "index.json").write_text(json.dumps(index).ljust(len(whole)))
            assert len(ShardSet(server.url, cache=cache)) == CLIPS - CLIPS // SHARDS
            (folder / "index.json").write_text(whole)


@pytest.mark.parametrize("source", ["", "nothing/", "no-{0..1}.tar"])
def test_an_address_without_shards_is_one_line(tmp_path, cache, source):
    (tmp_path / "empty").mkdir()
    with (
        FileServer(tmp_path / "empty") as server,
        pytest.raises(UserError, match=r"no \.tar shard there|there is no such file"),
    ):
        ShardSet(f"{server.url}/{source}", cache=cache)


@pytest.mark.parametrize(
    ("source", "words"),
    [("nowhere://bucket/a.tar", "Protocol not known"), ("pipe:cat a.tar", "a pipe cannot be read at random places")],
)
def test_what_is_no_address_of_shards_is_one_line(cache, source, words):
    with pytest.raises(UserError, match=words):
        ShardSet(source, cache=cache)
