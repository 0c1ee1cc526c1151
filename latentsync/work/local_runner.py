"""A runner of worker processes on this machine."""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from latentsync.errors import UserError
from latentsync.work.gpus import OWN, shared_out
from latentsync.work.runner import Answer, CrewRunner, Tell, Work, Worker, answer, limit_threads

_TELL_EVERY = 0.25  # seconds between signs of life


class LocalRunner(CrewRunner):
    """Worker processes; see `CrewRunner`.

    num_workers: how many; "auto": one for each GPU that is visible, else as many as have `threads` cores each. Workers
    share the visible GPUs out in turn: in each of them device "cuda" is another one (see `gpus.own_device`).
    threads: of each worker, for pictures and networks, None: as many as it likes; workers times threads should not
    exceed the cores.
    start_method: of `multiprocessing`; "forkserver" imports what workers need once, "fork" only suits a parent without
    threads; null = "forkserver" where there is one.
    """

    def __init__(
        self,
        num_workers: int | str = 2,
        time_limit: float = 120.0,
        attempts: int = 2,
        threads: int | None = 1,
        start_method: str | None = None,
    ) -> None:
        count = _as_many_as_fit(threads) if num_workers == "auto" else num_workers
        super().__init__(count, time_limit, attempts, threads)  # type: ignore[arg-type]  # which it checks
        known = multiprocessing.get_all_start_methods()
        self._method = start_method or ("forkserver" if "forkserver" in known else "spawn")
        if self._method not in known:
            raise UserError(f"runner.start_method={start_method}: choose one of {', '.join(known)}")

    @contextmanager
    def _crew(self, work: Work) -> Iterator["_ProcessCrew"]:
        context: Any = multiprocessing.get_context(self._method)
        if self._method == "forkserver":
            context.set_forkserver_preload(["__main__", *getattr(work, "modules", ())])
        gpus = shared_out() if self.num_workers > 1 or "LOCAL_RANK" in os.environ else []
        yield _ProcessCrew(context, work, self.threads, self.time_limit, gpus)


@dataclass(frozen=True)
class _ProcessCrew:
    """gpus: shared out among the workers; none: a worker's own GPU is the first one."""

    context: Any
    work: Work
    threads: int | None
    time_limit: float
    gpus: list[int] = field(default_factory=list)
    hired: list["_Process"] = field(default_factory=list)

    def hire(self) -> "_Process":
        taken = Counter(worker.gpu for worker in self.hired if not worker.gone)
        process = _Process(self, min(self.gpus, key=lambda gpu: (taken[gpu], gpu), default=None))
        self.hired[:] = [worker for worker in self.hired if not worker.gone] + [process]
        return process

    def answers(self, busy: list["_Process"]) -> Iterator[tuple[Worker, Answer]]:
        wait([worker.connection for worker in busy], timeout=min(0.5, self.time_limit / 4))
        for worker in busy:
            found = worker.receive(self.time_limit)
            if found is not None:
                yield worker, found


class LoneWorker:
    """One process that answers one item at a time, started at the first and anew at the first after it has died.

    work: as of a runner. threads: see `LocalRunner`. time_limit: seconds without a sign of life after which it is
    killed. gpu: its own one, None: see `gpus.own_gpu`. For callers in several threads, who wait for each other.
    """

    def __init__(
        self, work: Work, threads: int | None = None, time_limit: float = math.inf, gpu: int | None = None
    ) -> None:
        known = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if "forkserver" in known else "spawn")
        if context.get_start_method() == "forkserver":
            context.set_forkserver_preload([*getattr(work, "modules", ())])
        self._crew = _ProcessCrew(context, work, threads, time_limit, [] if gpu is None else [gpu])
        self._process: _Process | None = None
        self._turn = threading.Lock()

    def answer(self, item: Any, tell: Tell | None = None) -> tuple[Any, str | None, bool]:
        """(result, failure, whether the process died of it). tell: told the share that is done, at signs of life."""
        with self._turn:
            if self._process is None or not self._process.alive:
                self.close()
                self._process = self._crew.hire()
            process = self._process
            try:
                process.give(item, 1)
                heard = process.heard
                while (found := process.receive(self._crew.time_limit)) is None:
                    wait([process.connection], timeout=0.25)
                    if tell is not None and process.heard != heard:
                        heard = process.heard
                        tell(process.share)
                process.take_item()
            except BaseException:
                self.close()  # it is not known what it does
                raise
            return *found, process.died

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None and not self._process.gone:
            self._process.dismiss()


class _Process(Worker):
    """The parent's side of one process."""

    def __init__(self, crew: _ProcessCrew, gpu: int | None) -> None:
        super().__init__()
        self.heard, self.gpu = 0.0, gpu
        self.connection: Connection
        self.connection, theirs = crew.context.Pipe()
        self._process = crew.context.Process(target=_serve, args=(theirs, crew.work, crew.threads, gpu), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        """Whether it can take an item."""
        return not self.gone and self._process.is_alive()

    def _send(self, item: Any) -> None:
        self.heard = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):  # it is dead, which `receive` tells
            self.connection.send(item)

    def receive(self, time_limit: float) -> Answer | None:
        """(result, failure) of the item once it is there; None while it is under way."""
        try:
            while self.connection.poll():
                self.heard = time.monotonic()
                message = self.connection.recv()
                if isinstance(message, tuple):
                    return message
                self.share = message
        except (EOFError, ConnectionResetError):
            self.died = True
        if self.died or not self._process.is_alive():
            self.died = True
            self.dismiss()
            return None, f"its worker process died ({_cause(self._process.exitcode)})"
        if time.monotonic() - self.heard > time_limit:
            self.dismiss()
            return None, f"no progress within the time limit of {time_limit:g} s"
        return None

    def dismiss(self) -> None:
        self.gone = True
        self._process.kill()
        self._process.join()
        self.connection.close()


def _as_many_as_fit(threads: int | None) -> int:
    cores = os.cpu_count() or 1
    return len(shared_out()) or max(1, cores // (threads or cores))


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"


def _serve(connection: Connection, work: Work, threads: int | None, gpu: int | None) -> None:
    """A worker's life: items come, results go, until the parent is gone."""
    if gpu is not None:
        os.environ[OWN] = str(gpu)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent stops this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    limit_threads(threads)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    last = time.monotonic()

    def alive(share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= _TELL_EVERY:
            last = time.monotonic()
            try:
                connection.send(share)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise SystemExit(1) from error  # nothing that `work` might take for a failure of its own

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        while True:
            item = connection.recv()
            connection.send(0.0)  # the first sign of life: what a process needs to start is over
            connection.send(answer(work, item, alive))


def _end_with_the_parent() -> None:
    """Nobody waits for what an orphan does, and a decoder that hangs would do it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
