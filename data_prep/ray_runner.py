"""A runner on Ray: worker actors on this machine or all over a cluster, each with a share of a GPU where that is asked.

The folders of the run must be the same on all machines (a shared file system). What workers do and store does not
depend on the runner, so results are the same as with local processes.
"""

import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from data_prep.runner import Item, Outcome, Tell, Work, describe, limit_threads
from latentsync.errors import UserError

_TELL_EVERY = 0.5  # seconds between signs of life
_OBJECT_STORE_BYTES = 100 << 20  # items and results are names and numbers


class RayRunner:
    """Runs `work` in Ray actors; see `runner.Runner`.

    num_workers: actors. address: null starts Ray on this machine for the time of the run; "auto" joins the cluster this
    machine belongs to; else the address of one. cpus, gpus: what each actor reserves, fractions allowed (gpus=0.25:
    four share one). time_limit: seconds without a sign of life after which an actor is killed and its item fails; the
    wait for a place in the cluster does not count. attempts: how often an item is tried whose actor died. threads: of
    each actor.
    Raises UserError for numbers that make no sense and where Ray is not installed.
    """

    def __init__(
        self,
        num_workers: int = 2,
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        time_limit: float = 120.0,
        attempts: int = 2,
        threads: int = 1,
    ) -> None:
        for name, value in {"num_workers": num_workers, "attempts": attempts, "threads": threads}.items():
            if not isinstance(value, int) or value < 1:
                raise UserError(f"runner.{name}={value}: give at least 1")
        for name, number, least in (("cpus", cpus, 0), ("gpus", gpus, 0), ("time_limit", time_limit, 1e-3)):
            if number < least:
                raise UserError(f"runner.{name}={number}: give a number above 0")
        self.num_workers, self.address, self.cpus, self.gpus = num_workers, address, cpus, gpus
        self.time_limit, self.attempts, self.threads = time_limit, attempts, threads
        _import_ray()

    def map(self, work: Work, items: Iterable[Item], tell: Tell | None = None) -> Iterator[Outcome[Item]]:
        """See `runner.Runner`. Actors, and a Ray that was started for this, end with the generator."""
        ray = _import_ray()
        waiting = deque((item, 1) for item in items)
        if not waiting:
            return
        with self._connected(ray):
            board = ray.remote(num_cpus=0)(_Board).remote()
            crew: list[_Member] = []
            try:
                while waiting or any(member.busy for member in crew):
                    for member in crew:
                        if waiting and not member.busy:
                            member.give(*waiting.popleft())
                    while waiting and len(crew) < self.num_workers:
                        crew.append(self._hire(ray, board, work, len(crew)))
                        crew[-1].give(*waiting.popleft())
                    for member, result, failure in self._finished(ray, crew, board):
                        item, attempt = member.take_item()
                        if member.died and attempt < self.attempts:
                            waiting.append((item, attempt + 1))
                        else:
                            yield Outcome(item, result, failure)
                    crew = [member for member in crew if not member.gone]
                    if tell is not None:
                        tell(sum(member.share for member in crew if member.busy))
            finally:
                for member in crew:
                    member.dismiss(ray)
                ray.kill(board)

    def _hire(self, ray: Any, board: Any, work: Work, number: int) -> "_Member":
        # No restarts: a dead actor's item must be counted before it is tried again.
        host = ray.remote(_Host).options(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0)
        name = f"{number}-{time.monotonic_ns()}"
        return _Member(name, host.remote(board, name, work, self.threads))

    def _finished(self, ray: Any, crew: list["_Member"], board: Any) -> Iterator[tuple["_Member", Any, str | None]]:
        """(member, result, failure) of those that are through with their item, after waiting a moment for one."""
        busy = {member.answer: member for member in crew if member.busy}
        ready, _ = ray.wait(list(busy), num_returns=1, timeout=_TELL_EVERY)
        signs = ray.get(board.read.remote())
        for answer, member in busy.items():
            member.note(signs.get(member.name))
            if answer in ready:
                yield member, *_answer(ray, member)
            elif member.silence() > self.time_limit:
                member.dismiss(ray)
                yield member, None, f"no progress within the time limit of {self.time_limit:g} s"

    @contextmanager
    def _connected(self, ray: Any) -> Iterator[None]:
        """Join Ray or start it; what was started is stopped."""
        quiet = {"logging_level": "ERROR", "log_to_driver": False}
        if ray.is_initialized():
            yield
            return
        try:
            if self.address is None:
                cpus = max(1, round(self.num_workers * self.cpus))
                local = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
                # Its workers import what this process can import.
                path = {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
                ray.init(address="local", runtime_env={"env_vars": path}, **local, **quiet)
            else:
                ray.init(address=self.address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = "on this machine" if self.address is None else f"at runner.address={self.address}"
            raise UserError(f"Ray {where}: {str(error).splitlines()[0]}; start it with `ray start --head`") from error
        try:
            yield
        finally:
            ray.shutdown()


class _Board:
    """An actor where all workers leave signs of life, so that one question answers for all."""

    def __init__(self) -> None:
        self._signs: dict[str, tuple[int, float]] = {}

    def write(self, name: str, share: float) -> None:
        count, _ = self._signs.get(name, (0, 0.0))
        self._signs[name] = count + 1, share

    def read(self) -> dict[str, tuple[int, float]]:
        """Name -> (signs so far, share of the item that is done)."""
        return self._signs


class _Host:
    """A worker's actor. Its calls come one at a time, in the process's main thread."""

    def __init__(self, board: Any, name: str, work: Work, threads: int) -> None:
        limit_threads(threads)
        self._board, self._name, self._work = board, name, work
        self._last = 0.0

    def call(self, item: Any) -> tuple[Any, str | None]:
        """(result, failure) of one item."""
        self._board.write.remote(self._name, 0.0)
        try:
            return self._work(item, self._alive), None
        except Exception as error:
            return None, describe(error)

    def _alive(self, share: float) -> None:
        if time.monotonic() - self._last >= _TELL_EVERY:
            self._last = time.monotonic()
            self._board.write.remote(self._name, share)


class _Member:
    """The driver's side of one actor."""

    def __init__(self, name: str, actor: Any) -> None:
        self.name, self.share = name, 0.0
        self.answer: Any = None
        self.died = self.gone = False
        self._actor = actor
        self._item: tuple[Any, int] | None = None
        self._signs = 0
        self._heard: float | None = None

    @property
    def busy(self) -> bool:
        return self._item is not None

    def give(self, item: Any, attempt: int) -> None:
        self._item, self.share, self._heard = (item, attempt), 0.0, None
        self.answer = self._actor.call.remote(item)

    def take_item(self) -> tuple[Any, int]:
        assert self._item is not None
        item, self._item = self._item, None
        return item

    def note(self, sign: tuple[int, float] | None) -> None:
        """Take in what the board says of it."""
        if sign is not None and sign[0] != self._signs:
            self._signs, self.share = sign
            self._heard = time.monotonic()

    def silence(self) -> float:
        """Seconds since its last sign; 0 before its first, while it waits for a place."""
        return 0.0 if self._heard is None else time.monotonic() - self._heard

    def dismiss(self, ray: Any) -> None:
        self.gone = True
        ray.kill(self._actor)


def _answer(ray: Any, member: _Member) -> tuple[Any, str | None]:
    """(result, failure) of a call that is over."""
    try:
        return ray.get(member.answer)
    except ray.exceptions.RayActorError as error:
        member.died = member.gone = True
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        # What was raised while the actor was made stands at the end of a traceback.
        return None, f"its worker process died ({said[-1] if 'creation task' in said[0] else said[0]})"


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports home otherwise
    try:
        import ray
    except ImportError as error:
        raise UserError("runner=ray needs Ray: pip install 'latentsync-in-lightning[ray]'") from error
    return ray
