"""Runners: they call `work` for each item somewhere and hand back what came out, in any order.

A runner is any object with `map`. `work(item, alive)` is a picklable callable: it returns a result or raises, and calls
`alive(share_done)` every few seconds at least while it gets on (a runner need not listen). Each item gives exactly one
`Outcome`; nothing that happens inside `work` ends the runner. `work.modules`, if there, names modules that take long to
import.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, Protocol, TypeVar

from latentsync.errors import UserError

Item = TypeVar("Item")
USER_ERROR = "UserError: "
"""A failure that begins so is a mistake in the command, which no other item would escape."""
Alive = Callable[[float], None]
"""Told the share of the item that is done, 0 … 1."""
Work = Callable[[Any, Alive], Any]
Tell = Callable[[float], None]
"""Told, now and then, the sum of the shares done of all items under way."""

_TELL_EVERY = 0.25  # seconds between signs of life


@dataclass(frozen=True)
class Outcome(Generic[Item]):
    """item: as given; result: what `work` returned, None when it failed; failure: why, in one line, else None."""

    item: Item
    result: Any = None
    failure: str | None = None


def describe(error: Exception) -> str:
    """The one line of `Outcome.failure` for what `work` raised."""
    return " ".join(f"{type(error).__name__}: {error}".split())


class Runner(Protocol):
    """See the module's text."""

    def map(self, work: Work, items: Iterable[Item], tell: Tell | None = None) -> Iterator[Outcome[Item]]:
        """One outcome for each item; `tell` may be left alone."""
        ...


class HereRunner:
    """Works in this process, one item after the other: nothing guards against an item that hangs or kills it."""

    def map(self, work: Work, items: Iterable[Item], tell: Tell | None = None) -> Iterator[Outcome[Item]]:
        """See `Runner`."""
        for item in items:
            try:
                yield Outcome(item, work(item, tell or _nobody))
            except Exception as error:
                yield Outcome(item, failure=describe(error))


def _nobody(share: float) -> None:
    """Listens to signs of life where nobody asked for them."""


class LocalRunner:
    """Worker processes on this machine.

    num_workers: processes. time_limit: seconds without a sign of life after which a worker is killed and its item fails
    (a decoder that hangs). attempts: how often an item is tried whose worker died (killed, out of memory).
    threads: of each worker, for pictures and networks; workers times threads should not exceed the cores.
    start_method: of `multiprocessing`; "forkserver" imports what workers need once, "fork" only suits a parent without
    threads; null = "forkserver" where there is one.
    Raises UserError for numbers that make no sense.
    """

    def __init__(
        self,
        num_workers: int = 2,
        time_limit: float = 120.0,
        attempts: int = 2,
        threads: int = 1,
        start_method: str | None = None,
    ) -> None:
        known = multiprocessing.get_all_start_methods()
        method = start_method or ("forkserver" if "forkserver" in known else "spawn")
        if num_workers < 1:
            raise UserError(f"runner.num_workers={num_workers}: give at least 1")
        if time_limit <= 0:
            raise UserError(f"runner.time_limit={time_limit}: give seconds above 0")
        if attempts < 1:
            raise UserError(f"runner.attempts={attempts}: give at least 1")
        if threads < 1:
            raise UserError(f"runner.threads={threads}: give at least 1")
        if method not in known:
            raise UserError(f"runner.start_method={method}: choose one of {', '.join(known)}")
        self.num_workers, self.time_limit, self.attempts = num_workers, time_limit, attempts
        self.threads = threads
        self._context: Any = multiprocessing.get_context(method)

    def map(self, work: Work, items: Iterable[Item], tell: Tell | None = None) -> Iterator[Outcome[Item]]:
        """See `Runner`. Workers are stopped when the generator is closed or an exception passes through it."""
        if self._context.get_start_method() == "forkserver":
            self._context.set_forkserver_preload(["__main__", *getattr(work, "modules", ())])
        waiting = deque((item, 1) for item in items)
        workers: list[_Worker] = []
        try:
            while waiting or any(worker.busy for worker in workers):
                self._hand_out(work, waiting, workers)
                for worker in self._ready(workers):
                    outcome = worker.receive(self.time_limit)
                    if outcome is None:
                        continue
                    item, attempt = worker.take_item()
                    if worker.dead and worker.timed_out is False and attempt < self.attempts:
                        waiting.append((item, attempt + 1))
                    else:
                        yield Outcome(item, *outcome)
                workers = [worker for worker in workers if not worker.dead]
                if tell is not None:
                    tell(sum(worker.share for worker in workers if worker.busy))
        finally:
            for worker in workers:
                worker.stop()

    def _hand_out(self, work: Work, waiting: deque, workers: list["_Worker"]) -> None:
        """Give each idle worker an item, starting workers up to their number."""
        for worker in workers:
            if waiting and not worker.busy:
                worker.give(*waiting.popleft())
        while waiting and len(workers) < self.num_workers:
            workers.append(_Worker(self._context, work, self.threads))
            workers[-1].give(*waiting.popleft())

    def _ready(self, workers: list["_Worker"]) -> list["_Worker"]:
        """The busy workers, after waiting until one has something to say (or a moment, for the time limit)."""
        busy = [worker for worker in workers if worker.busy]
        wait([worker.connection for worker in busy], timeout=min(0.5, self.time_limit / 4))
        return busy


@dataclass
class _Worker:
    """The parent's side of one process."""

    context: Any
    work: Work
    threads: int
    share: float = 0.0
    dead: bool = False
    timed_out: bool = False
    connection: Connection = field(init=False)
    process: BaseProcess = field(init=False)
    _item: tuple[Any, int] | None = None
    _heard: float = 0.0

    def __post_init__(self) -> None:
        self.connection, theirs = self.context.Pipe()
        self.process = self.context.Process(target=_serve, args=(theirs, self.work, self.threads), daemon=True)
        self.process.start()
        theirs.close()

    @property
    def busy(self) -> bool:
        return self._item is not None

    def give(self, item: Any, attempt: int) -> None:
        self._item, self.share, self._heard = (item, attempt), 0.0, time.monotonic()
        try:
            self.connection.send(item)
        except (BrokenPipeError, ConnectionResetError):
            self.dead = True  # `receive` tells it

    def take_item(self) -> tuple[Any, int]:
        assert self._item is not None
        item, self._item = self._item, None
        return item

    def receive(self, time_limit: float) -> tuple[Any, str | None] | None:
        """(result, failure) of the item once it is there; None while it is under way."""
        try:
            while self.connection.poll():
                self._heard = time.monotonic()
                kind, value = self.connection.recv()
                if kind == "alive":
                    self.share = value
                else:
                    return (value, None) if kind == "done" else (None, value)
        except (EOFError, ConnectionResetError):
            self.dead = True
        if self.dead or not self.process.is_alive():
            self.stop()
            return None, f"its worker process died ({_cause(self.process.exitcode)})"
        if time.monotonic() - self._heard > time_limit:
            self.timed_out = True
            self.stop()
            return None, f"no progress within the time limit of {time_limit:g} s"
        return None

    def stop(self) -> None:
        self.dead = True
        self.process.kill()
        self.process.join()
        self.connection.close()


def limit_threads(threads: int) -> None:
    """Let torch, OpenCV and what is imported later use so many threads in this process."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"


def _serve(connection: Connection, work: Work, threads: int) -> None:
    """A worker's life: items come, results go, until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent stops this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    limit_threads(threads)
    last = time.monotonic()

    def alive(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL_EVERY:
            last = time.monotonic()
            _leave_if_orphaned()
            connection.send(("alive", share))

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        while True:
            while not connection.poll(1.0):
                _leave_if_orphaned()
            item = connection.recv()
            try:
                answer = ("done", work(item, alive))
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception as error:
                answer = ("failed", describe(error))
            connection.send(answer)


def _leave_if_orphaned() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(1)
