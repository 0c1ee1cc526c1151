"""A runner of worker processes on this machine."""

import multiprocessing
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from latentsync.errors import UserError
from latentsync.work.runner import Answer, CrewRunner, Work, Worker, answer, limit_threads

_TELL_EVERY = 0.25  # seconds between signs of life


class LocalRunner(CrewRunner):
    """Worker processes; see `CrewRunner`.

    threads: of each worker, for pictures and networks; workers times threads should not exceed the cores.
    start_method: of `multiprocessing`; "forkserver" imports what workers need once, "fork" only suits a parent without
    threads; null = "forkserver" where there is one.
    """

    def __init__(
        self,
        num_workers: int = 2,
        time_limit: float = 120.0,
        attempts: int = 2,
        threads: int = 1,
        start_method: str | None = None,
    ) -> None:
        super().__init__(num_workers, time_limit, attempts, threads)
        known = multiprocessing.get_all_start_methods()
        self._method = start_method or ("forkserver" if "forkserver" in known else "spawn")
        if self._method not in known:
            raise UserError(f"runner.start_method={start_method}: choose one of {', '.join(known)}")

    @contextmanager
    def _crew(self, work: Work) -> Iterator["_ProcessCrew"]:
        context: Any = multiprocessing.get_context(self._method)
        if self._method == "forkserver":
            context.set_forkserver_preload(["__main__", *getattr(work, "modules", ())])
        yield _ProcessCrew(context, work, self.threads, self.time_limit)


@dataclass(frozen=True)
class _ProcessCrew:
    context: Any
    work: Work
    threads: int
    time_limit: float

    def hire(self) -> "_Process":
        return _Process(self)

    def answers(self, busy: list["_Process"]) -> Iterator[tuple[Worker, Answer]]:
        wait([worker.connection for worker in busy], timeout=min(0.5, self.time_limit / 4))
        for worker in busy:
            found = worker.receive(self.time_limit)
            if found is not None:
                yield worker, found


class _Process(Worker):
    """The parent's side of one process."""

    def __init__(self, crew: _ProcessCrew) -> None:
        super().__init__()
        self._heard = 0.0
        self.connection: Connection
        self.connection, theirs = crew.context.Pipe()
        self._process = crew.context.Process(target=_serve, args=(theirs, crew.work, crew.threads), daemon=True)
        self._process.start()
        theirs.close()

    def _send(self, item: Any) -> None:
        self._heard = time.monotonic()
        with suppress(BrokenPipeError, ConnectionResetError):  # it is dead, which `receive` tells
            self.connection.send(item)

    def receive(self, time_limit: float) -> Answer | None:
        """(result, failure) of the item once it is there; None while it is under way."""
        try:
            while self.connection.poll():
                self._heard = time.monotonic()
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
        if time.monotonic() - self._heard > time_limit:
            self.dismiss()
            return None, f"no progress within the time limit of {time_limit:g} s"
        return None

    def dismiss(self) -> None:
        self.gone = True
        self._process.kill()
        self._process.join()
        self.connection.close()


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
            try:
                connection.send(share)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise SystemExit(1) from error  # nothing that `work` might take for a failure of its own

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        while True:
            while not connection.poll(1.0):
                _leave_if_orphaned()
            connection.send(answer(work, connection.recv(), alive))


def _leave_if_orphaned() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(1)
