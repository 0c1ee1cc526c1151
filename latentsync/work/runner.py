"""Runners: they call `work` for each item somewhere and hand back what came out, in any order.

A runner is any object with `map`. `work(item, alive)` is a picklable callable: it returns a result or raises, and calls
`alive(share_done)` every few seconds at least while it gets on (a runner need not listen). Each item gives exactly one
`Outcome`; nothing that happens inside `work` ends the runner. `work.modules`, if there, names modules that take long to
import.
"""

import os
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

from latentsync.errors import UserError
from latentsync.work.progress import ProgressBar

Item = TypeVar("Item")
Given = TypeVar("Given", covariant=True)
Alive = Callable[[float], None]
"""Told the share of the item that is done, 0 … 1."""
Work = Callable[[Any, Alive], Any]
Tell = Callable[[float], None]
"""Told, now and then, the sum of the shares done of all items under way."""
Answer = tuple[Any, str | None]
"""(result, failure) of an item; see `Outcome`."""

_USER_ERROR = f"{UserError.__name__}: "  # failures cross from one process to another as text


@dataclass(frozen=True)
class Outcome(Generic[Item]):
    """item: as given; result: what `work` returned, None when it failed; failure: why, in one line, else None."""

    item: Item
    result: Any = None
    failure: str | None = None

    def check(self) -> None:
        """Raise UserError for a mistake in the command, which no other item would escape."""
        if self.failure is not None and self.failure.startswith(_USER_ERROR):
            raise UserError(self.failure.removeprefix(_USER_ERROR))


class Runner(Protocol):
    """See the module's text."""

    def map(self, work: Work, items: Iterable[Item], tell: Tell | None = None) -> Iterator[Outcome[Item]]:
        """One outcome for each item; `tell` may be left alone."""
        ...


class Pile(Protocol[Given]):
    """Items that can be counted: a sequence, or one whose length shrinks while others take from it."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Given]: ...


def run_all(runner: Runner, work: Work, items: Pile[Item], title: str) -> Iterator[Outcome[Item]]:
    """The outcomes of all items, with progress under `title`. Raises UserError as `Outcome.check` does."""
    done = 0
    with ProgressBar(title) as bar:

        def tell(share: float) -> None:
            bar(done + share, len(items))

        for outcome in runner.map(work, items, tell):
            outcome.check()
            done += 1
            bar(done, len(items))
            yield outcome


class HereRunner:
    """Works in this process, one item after the other: nothing guards against an item that hangs or kills it."""

    def map(self, work: Work, items: Iterable[Item], tell: Tell | None = None) -> Iterator[Outcome[Item]]:
        """See `Runner`."""
        for item in items:
            yield Outcome(item, *answer(work, item, tell or (lambda share: None)))


class CrewRunner(ABC):
    """A runner with workers that live apart: an item whose worker dies is tried again, one that hangs is given up.

    num_workers: how many. time_limit: seconds without a sign of life after which a worker is killed and its item
    fails. attempts: how often an item is tried whose worker died. threads: of each worker; None: as many as it likes.
    Raises UserError for numbers that make no sense.
    """

    def __init__(self, num_workers: int, time_limit: float, attempts: int, threads: int | None) -> None:
        for name, value in {"num_workers": num_workers, "attempts": attempts, "threads": threads}.items():
            if (value is not None or name != "threads") and (not isinstance(value, int) or value < 1):
                raise UserError(f"runner.{name}={value}: give at least 1")
        if time_limit <= 0:
            raise UserError(f"runner.time_limit={time_limit}: give seconds above 0")
        self.num_workers, self.time_limit, self.attempts, self.threads = num_workers, time_limit, attempts, threads

    def map(self, work: Work, items: Iterable[Item], tell: Tell | None = None) -> Iterator[Outcome[Item]]:
        """See `Runner`. Workers are stopped when the generator is closed or an exception passes through it."""
        waiting = _Waiting(items)
        if not waiting:
            return
        with self._crew(work) as crew:
            workers: list[Any] = []
            try:
                while waiting or any(worker.busy for worker in workers):
                    for worker in workers:
                        if not worker.busy and waiting:
                            worker.give(*waiting.take())
                    while len(workers) < self.num_workers and waiting:
                        workers.append(crew.hire())
                        workers[-1].give(*waiting.take())
                    for worker, found in crew.answers([worker for worker in workers if worker.busy]):
                        item, attempt = worker.take_item()
                        if worker.died and attempt < self.attempts:
                            waiting.put_back(item, attempt + 1)
                        else:
                            yield Outcome(item, *found)
                    workers = [worker for worker in workers if not worker.gone]
                    if tell is not None:
                        tell(sum(worker.share for worker in workers if worker.busy))
            finally:
                for worker in workers:
                    worker.dismiss()

    @abstractmethod
    def _crew(self, work: Work) -> AbstractContextManager["Crew"]:
        """Whoever hires workers for this work."""


class _Waiting:
    """Items with the number of their attempt. One is taken from the source when it is asked for, and no sooner: other
    processes may take from the same one."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._source = ((item, 1) for item in items)
        self._ready: deque[tuple[Any, int]] = deque()

    def __bool__(self) -> bool:
        if not self._ready:
            self._ready.extend(islice(self._source, 1))
        return bool(self._ready)

    def take(self) -> tuple[Any, int]:
        return self._ready.popleft()

    def put_back(self, item: Any, attempt: int) -> None:
        self._ready.append((item, attempt))


class Crew(Protocol):
    """Hires workers and listens to them."""

    def hire(self) -> "Worker":
        """Another worker, without an item."""
        ...

    def answers(self, busy: list[Any]) -> Iterator[tuple["Worker", Answer]]:
        """Those of the busy workers that are through with their item, after waiting a moment for one."""
        ...


class Worker(ABC):
    """One worker, seen from outside.

    share: of its item that is done. died: its process ended by itself, so that its item may be tried again. gone: it
    takes no more items.
    """

    def __init__(self) -> None:
        self.share, self.died, self.gone = 0.0, False, False
        self._item: tuple[Any, int] | None = None

    @property
    def busy(self) -> bool:
        """Whether it has an item."""
        return self._item is not None

    def give(self, item: Any, attempt: int) -> None:
        """Let it work on an item."""
        self._item, self.share = (item, attempt), 0.0
        self._send(item)

    def take_item(self) -> tuple[Any, int]:
        """(item, attempt) that it is through with."""
        assert self._item is not None
        item, self._item = self._item, None
        return item

    @abstractmethod
    def _send(self, item: Any) -> None:
        """Hand the item over."""

    @abstractmethod
    def dismiss(self) -> None:
        """End it, whatever it does."""


def answer(work: Work, item: Any, alive: Alive) -> Answer:
    """What `work` makes of an item."""
    try:
        return work(item, alive), None
    except Exception as error:
        return None, " ".join(f"{type(error).__name__}: {error}".split())


def limit_threads(threads: int | None) -> None:
    """Let torch, OpenCV and what is imported later use so many threads in this process; None: no limit."""
    if threads is None:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)
