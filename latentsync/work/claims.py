"""One pile of items, several processes that take from it: whoever is free takes the next, so that a long one holds up
only the process that has it.

An item is claimed by locking a file, on a disk that all processes see; the lock goes with its process, however that
ends. Where the file system has no locks, a process takes every item that is not done.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Generic, TypeVar

import psutil

Item = TypeVar("Item")


class Claimed(Generic[Item]):
    """The items that this process gets, each when it is asked for; `len` counts those that it got or may still get.

    items: the pile, in order. lock: item -> its lock file. is_done: whether another process did an item meanwhile.
    `release` is to be called when an item's result is stored.
    """

    def __init__(self, items: Sequence[Item], lock: Callable[[Item], Path], is_done: Callable[[Item], bool]) -> None:
        self._items, self._lock, self._is_done = items, lock, is_done
        self._elsewhere = 0
        self._held: dict[Path, TextIOWrapper] = {}

    def __len__(self) -> int:
        return len(self._items) - self._elsewhere

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            if self._claim(self._lock(item)):
                if not self._is_done(item):
                    yield item
                    continue
                self.release(item)
            self._elsewhere += 1

    def release(self, item: Item) -> None:
        """Let go of an item."""
        path = self._lock(item)
        file = self._held.pop(path, None)
        if file is not None:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # and not by closing alone: a forked worker has the file open, too
                fcntl.flock(file, fcntl.LOCK_UN)
            file.close()

    def _claim(self, path: Path) -> bool:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError:
            return True  # who works on the item will say what is wrong with the folder
        with suppress(OSError):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
        if not _is_at(file, path):  # let go of between opening and locking: somebody is through with the item
            file.close()
            return False
        self._held[path] = file
        return True


def run_began() -> float:
    """When the run began that this process is part of, in seconds since the epoch: under torchrun that of its agent."""
    ours = psutil.Process()
    parent = ours.parent() if "TORCHELASTIC_RUN_ID" in os.environ else None
    return (parent or ours).create_time()


def _is_at(file: TextIOWrapper, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
