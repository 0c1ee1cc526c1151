"""A download is the file that was asked for, whole, or one line: servers that stall, cut, refuse, change and ignore."""

import hashlib
import io

import numpy as np
import pytest
from file_server import FileServer

from latentsync.errors import UserError
from latentsync.storage import download as module
from latentsync.storage.addresses import Patience, facts
from latentsync.storage.download import RemoteFile, Stopped, download

CONTENT = np.random.default_rng(0).bytes(50_000)
QUICK = Patience(attempts=3, pause=0.01, silence=0.4)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(module, "PIECE", 16_384)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path


@pytest.fixture
def server(folder):
    with FileServer(folder) as server:
        yield server


def described(server: FileServer, sha256: bool = True) -> RemoteFile:
    address = f"{server.url}/file"
    if sha256:
        return RemoteFile(address, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    told = facts(address, QUICK)
    return RemoteFile(address, told.bytes, mark=told.mark)


def fetched(file: RemoteFile, have: bytes = b"") -> bytes:
    part = io.BytesIO(have)
    download(file, part, QUICK)
    return part.getvalue()


@pytest.mark.parametrize("sha256", [True, False])
def test_a_file_comes_in_pieces(server, sha256):
    assert fetched(described(server, sha256)) == CONTENT
    assert server.gets("file") == 4
    assert server.sent["file"] == len(CONTENT)


@pytest.mark.parametrize("have", [1, 16_384, 49_999])
def test_it_goes_on_where_an_earlier_attempt_ended(server, have):
    assert fetched(described(server), CONTENT[:have]) == CONTENT
    assert server.sent["file"] == len(CONTENT) - have


@pytest.mark.parametrize("fault", ["stall", "cut", 500, 503, 429])
def test_a_passing_fault_is_waited_out(server, fault):
    server.faults["file"] += ["", fault, fault, "", fault]
    assert fetched(described(server)) == CONTENT


@pytest.mark.parametrize("fault", ["stall", "cut", 503])
def test_a_fault_that_stays_is_one_line(server, fault):
    file = described(server)
    server.all_faults["file"] = fault
    with pytest.raises(UserError, match=r"given up after 3 attempts") as told:
        fetched(file)
    assert "\n" not in str(told.value)


def test_a_server_that_is_gone_is_one_line(folder):
    with FileServer(folder) as server:
        file = described(server)
    with pytest.raises(UserError, match="given up after 3 attempts"):
        fetched(file)


@pytest.mark.parametrize(("status", "words"), [(404, "no such file"), (403, "no right to read"), (400, "status 400")])
def test_a_refusal_is_told_at_once(server, status, words):
    file = described(server)
    server.all_faults["file"] = status
    before = len(server.requests)
    with pytest.raises(UserError, match=words):
        fetched(file)
    assert len(server.requests) - before <= 2


@pytest.mark.parametrize("have", [0, 20_000])
def test_without_ranges_the_file_comes_from_its_start(folder, have):
    with FileServer(folder, ranges=False) as server:
        server.faults["file"] += ["cut"]
        assert fetched(described(server), CONTENT[:have]) == CONTENT


def test_a_server_that_only_claims_ranges_gives_the_file_all_the_same(server, monkeypatch):
    file = described(server)
    monkeypatch.setattr("file_server._Handler._range", lambda self, size: (0, size - 1))
    assert fetched(file) == CONTENT


@pytest.mark.parametrize("sha256", [True, False])
@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_that_changes_under_way_is_never_taken(folder, server, sha256, same_size):
    file = described(server, sha256)
    other = CONTENT[::-1] if same_size else CONTENT[:-1]
    server.faults["file"] += ["", "", lambda: (folder / "file").write_bytes(other)]
    with pytest.raises(UserError, match=r"has changed since|not the one in its index|in its index"):
        fetched(file)


def test_what_an_earlier_attempt_left_of_another_file_is_dropped(server):
    assert fetched(described(server), CONTENT[::-1][:20_000]) == CONTENT


def test_one_can_stop_between_pieces_and_go_on(server):
    file, part = described(server), io.BytesIO()
    answers = iter([False, True])
    with pytest.raises(Stopped):
        download(file, part, QUICK, lambda: next(answers))
    assert part.getvalue() == CONTENT[:32_768]
    assert fetched(file, part.getvalue()) == CONTENT
    assert server.sent["file"] == len(CONTENT)
