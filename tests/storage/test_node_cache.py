"""The cache: each file comes once for all processes, within its limit, the least recently used goes, none is half."""

import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections import namedtuple

import numpy as np
import pytest
from file_server import FileServer

from latentsync.errors import UserError
from latentsync.storage import node_cache as module
from latentsync.storage.addresses import Patience
from latentsync.storage.download import RemoteFile, Stopped
from latentsync.storage.node_cache import NodeCache

SIZE = 40_000
QUICK = Patience(attempts=3, pause=0.01, silence=5)


def content(number: int) -> bytes:
    return np.random.default_rng(number).bytes(SIZE)


@pytest.fixture
def server(tmp_path):
    (tmp_path / "there").mkdir()
    for number in range(6):
        (tmp_path / "there" / f"{number}.tar").write_bytes(content(number))
    with FileServer(tmp_path / "there") as server:
        yield server


def remote(server: FileServer, number: int) -> RemoteFile:
    return RemoteFile(f"{server.url}/{number}.tar", SIZE, hashlib.sha256(content(number)).hexdigest())


@pytest.fixture
def cache(tmp_path) -> NodeCache:
    return NodeCache(tmp_path / "cache", 3 * SIZE, QUICK)


def read(cache: NodeCache, file: RemoteFile) -> bytes:
    with cache.open(file) as opened:
        return opened.read()


def held(cache: NodeCache) -> set[str]:
    return {path.name.partition("-")[2] for path in cache.folder.iterdir()}


def test_a_file_is_fetched_once_and_found_by_the_next_run(server, cache):
    assert read(cache, remote(server, 0)) == content(0)
    assert read(NodeCache(cache.folder, 3 * SIZE, QUICK), remote(server, 0)) == content(0)
    assert server.sent["0.tar"] == SIZE


def test_another_version_is_another_copy(server, cache):
    first = remote(server, 0)
    read(cache, first)
    (server.folder / "0.tar").write_bytes(content(1))
    second = RemoteFile(first.address, SIZE, hashlib.sha256(content(1)).hexdigest())
    assert read(cache, second) == content(1)
    assert read(cache, first) == content(0)


def test_the_least_recently_used_goes(server, cache, monkeypatch):
    monkeypatch.setattr(module, "_TOUCH_EVERY", 0.0)
    for number in (0, 1, 2, 0, 3, 0, 4):
        read(cache, remote(server, number))
        time.sleep(0.02)  # times of files are not finer everywhere
    assert held(cache) == {"0.tar", "3.tar", "4.tar"}
    assert server.gets("0.tar") == 1


def test_the_limit_holds_at_every_moment(server, cache):
    for number in (0, 1, 2, 3, 4, 5, 0, 1):
        read(cache, remote(server, number))
        assert sum(path.stat().st_size for path in cache.folder.iterdir()) <= 3 * SIZE


def test_an_open_file_outlives_its_copy(server, cache):
    with cache.open(remote(server, 0)) as opened:
        for number in (1, 2, 3):
            read(cache, remote(server, number))
        assert "0.tar" not in held(cache)
        assert opened.read() == content(0)


def test_threads_and_processes_that_want_the_same_file_fetch_it_once(server, cache):
    server.latency = 0.1
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=read, args=(cache, remote(server, 0))) for _ in range(3)]
    threads = [threading.Thread(target=read, args=(cache, remote(server, 0))) for _ in range(3)]
    for runner in processes + threads:
        runner.start()
    for runner in processes + threads:
        runner.join()
    assert [process.exitcode for process in processes] == [0] * 3
    assert server.sent["0.tar"] == SIZE
    assert held(cache) == {"0.tar"}


def test_a_busy_file_can_be_passed_over(server, cache):
    server.latency = 0.3
    thread = threading.Thread(target=cache.fetch, args=(remote(server, 0),))
    thread.start()
    while not cache.folder.is_dir() or not any(cache.folder.iterdir()):
        time.sleep(0.01)
    assert cache.fetch(remote(server, 0), wait=False) is False
    thread.join()
    assert cache.fetch(remote(server, 0), wait=False) is True


def test_a_killed_download_is_gone_on_with(server, cache, monkeypatch):
    monkeypatch.setattr("latentsync.storage.download.PIECE", 10_000)
    server.faults["0.tar"] += ["", "", "stall"]
    process = multiprocessing.get_context("fork").Process(target=read, args=(cache, remote(server, 0)))
    process.start()
    while server.sent["0.tar"] < 25_000:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert read(cache, remote(server, 0)) == content(0)
    assert server.sent["0.tar"] == 25_000 + 20_000, "what was on the disk did not come again"


def test_a_download_that_was_stopped_is_free_although_a_process_was_forked_meanwhile(server, cache):
    asleep = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))

    def stopped() -> bool:
        asleep.start()
        return True

    with pytest.raises(Stopped):
        cache.fetch(remote(server, 0), stopped=stopped)
    assert cache.fetch(remote(server, 0), wait=False)
    asleep.kill()


def test_what_a_killed_download_left_makes_room_like_any_copy(server, cache):
    cache.folder.mkdir()
    left = cache.place(remote(server, 5))
    part = left.with_name(f"{left.name}.{SIZE}.part")
    part.write_bytes(b"x")
    os.utime(part, (0, 0))
    for number in (0, 1, 2):
        read(cache, remote(server, number))
    assert held(cache) == {"0.tar", "1.tar", "2.tar"}


def test_a_disk_without_room_is_used_within_what_it_has(server, cache, monkeypatch):
    """As if the disk had two files of this size and no more."""
    usage = namedtuple("usage", "total used free")

    def two_files(folder):
        used = sum(path.stat().st_size for path in cache.folder.iterdir())
        return usage(2 * SIZE, used, 2 * SIZE - used)

    monkeypatch.setattr(shutil, "disk_usage", two_files)
    for number in (0, 1, 2, 3):
        assert read(cache, remote(server, number)) == content(number)
    assert held(cache) == {"2.tar", "3.tar"}


def test_a_full_disk_is_one_line(server, cache, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: namedtuple("usage", "free")(100))
    with pytest.raises(UserError, match=r"the disk is full, '.*0\.tar' needs 0 MB; free space there") as told:
        read(cache, remote(server, 0))
    assert "\n" not in str(told.value)


def test_a_disk_that_fills_up_while_writing_is_one_line(server, cache, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "download", full)
    with pytest.raises(UserError, match="the disk is full"):
        read(cache, remote(server, 0))


def test_a_folder_that_cannot_be_made_is_one_line(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cache folder '.*file/cache': cannot be written"):
        read(NodeCache(tmp_path / "file" / "cache", SIZE, QUICK), remote(server, 0))
