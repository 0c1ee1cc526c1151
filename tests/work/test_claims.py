"""One pile, several processes: each item once, the dead let go, and a long item holds nobody else up."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from latentsync.work.claims import Claimed
from latentsync.work.runner import HereRunner, Outcome, run_all

CONTEXT = multiprocessing.get_context("fork")


def pile(folder: Path, items: list[str]) -> Claimed[str]:
    return Claimed(items, lambda item: folder / f"{item}.lock", lambda item: (folder / item).exists())


def take(folder: Path, items: list[str], name: str, work) -> None:
    """Take from the pile until it is empty; who did what is written down."""
    claimed = pile(folder, items)
    for outcome in run_all(HereRunner(), lambda item, alive: work(item), claimed, "items"):
        assert isinstance(outcome, Outcome)
        assert outcome.failure is None, outcome.failure
        with (folder / outcome.item).open("a") as file:
            file.write(name)
        claimed.release(outcome.item)


def did(folder: Path, items: list[str]) -> list[str]:
    return [(folder / item).read_text() for item in items]


def test_two_processes_do_each_item_once(tmp_path):
    items = [f"item{number}" for number in range(40)]
    processes = [CONTEXT.Process(target=take, args=(tmp_path, items, name, lambda item: None)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert all(len(name) == 1 for name in did(tmp_path, items))
    assert not list(tmp_path.glob("*.lock"))


def test_while_one_does_a_long_item_the_other_does_all_short_ones(tmp_path):
    items = ["long", *(f"short{number}" for number in range(9))]

    def work(item: str) -> None:
        """The long one lasts until the nine others are done: by a fixed stride four of them would wait for it."""
        deadline = time.monotonic() + 60
        while item == "long" and not all((tmp_path / name).exists() for name in items[1:]):
            assert time.monotonic() < deadline, "the short ones wait for the long one"
            time.sleep(0.01)

    processes = [CONTEXT.Process(target=take, args=(tmp_path, items, name, work)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(set(did(tmp_path, items[1:]))) == 1
    assert did(tmp_path, ["long"]) != did(tmp_path, ["short0"])


def test_what_a_killed_process_had_is_free_again(tmp_path):
    process = CONTEXT.Process(target=take, args=(tmp_path, ["item"], "a", lambda item: time.sleep(60)))
    process.start()
    while not (tmp_path / "item.lock").exists():
        time.sleep(0.01)
    time.sleep(0.1)  # from making the file to locking it
    assert list(pile(tmp_path, ["item"])) == []
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(pile(tmp_path, ["item"])) == ["item"]


def test_the_count_is_of_what_is_left_for_this_process(tmp_path):
    (tmp_path / "b").touch()
    first, second = pile(tmp_path, ["a", "b", "c"]), pile(tmp_path, ["a", "b", "c"])
    taking = iter(first)
    assert next(taking) == "a"
    assert list(second) == ["c"]
    assert (len(first), len(second)) == (3, 1)
    assert list(taking) == []
    assert len(first) == 1


def test_a_file_system_without_locks_gives_everything_to_everybody(tmp_path, monkeypatch):
    def none(*arguments):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", none)
    assert [list(pile(tmp_path, ["a", "b"])) for _ in range(2)] == [["a", "b"]] * 2


@pytest.mark.parametrize("done", [True, False])
def test_an_item_is_looked_at_again_once_it_is_claimed(tmp_path, done):
    claimed = iter(pile(tmp_path, ["a", "b"]))
    assert next(claimed) == "a"
    if done:
        (tmp_path / "b").touch()
    assert list(claimed) == ([] if done else ["b"])
