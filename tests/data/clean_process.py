"""Processes for tests that kill: forked from one that has imported data preparation and has no threads."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any


class Forker:
    """Runs functions of importable modules, each in a process of its own that starts at once. A context manager."""

    def __enter__(self) -> "Forker":
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,))
        self._process.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ask("stop")
        self._process.join()

    def start(self, function: Callable[..., Any], /, **arguments: Any) -> "Forked":
        """Call it, without waiting."""
        number, pid = self.ask("start", function, arguments)
        return Forked(self, number, pid)

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """What it returns."""
        forked = self.start(function, **arguments)
        assert forked.join() == 0
        return forked.result

    def ask(self, *question: Any) -> Any:
        self._connection.send(question)
        return self._connection.recv()


@dataclass
class Forked:
    """A process of a `Forker`; result: what the function returned, after `join`."""

    forker: Forker
    number: int
    pid: int
    result: Any = None

    def is_alive(self) -> bool:
        return self.forker.ask("alive", self.number)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def join(self) -> int:
        """Wait for its end; its exit code, negative for a signal."""
        code, self.result = self.forker.ask("join", self.number)
        return code


def _serve(connection: Connection) -> None:
    import data_prep.preparation
    import data_prep.prepare  # noqa: F401

    context = multiprocessing.get_context("fork")
    running: list[tuple[Any, Connection]] = []
    while True:
        kind, *question = connection.recv()
        if kind == "start":
            results, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_call, args=(theirs, *question))
            process.start()
            theirs.close()
            running.append((process, results))
            connection.send((len(running) - 1, process.pid))
        elif kind == "alive":
            connection.send(running[question[0]][0].is_alive())
        elif kind == "join":
            process, results = running[question[0]]
            try:
                result = results.recv()
            except EOFError:
                result = None
            process.join()
            connection.send((process.exitcode, result))
        else:
            for process, _ in running:
                process.kill()
            connection.send(None)
            return


def _call(results: Connection, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    results.send(function(**arguments))
