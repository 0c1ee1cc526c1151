"""A runner on Ray: worker actors on this machine or all over a cluster, each with a share of a GPU where that is asked.

The folders of the run must be the same on all machines (a shared file system). What workers do and store does not
depend on the runner, so results are the same as with local processes.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from latentsync.errors import UserError
from latentsync.work.local_runner import LoneWorker
from latentsync.work.runner import Answer, CrewRunner, Work, Worker

_TELL_EVERY = 0.5  # seconds between signs of life
_OBJECT_STORE_BYTES = 100 << 20  # items and results are names and numbers


class RayRunner(CrewRunner):
    """Ray actors; see `CrewRunner`. The wait for a place in the cluster does not count for the time limit.

    address: null starts Ray on this machine for the time of the run; "auto" joins the cluster this machine belongs to;
    else the address of one. cpus, gpus: what each actor reserves, fractions allowed (gpus=0.25: four share one).
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
        threads: int | None = 1,
    ) -> None:
        super().__init__(num_workers, time_limit, attempts, threads)
        for name, number in {"cpus": cpus, "gpus": gpus}.items():
            if number < 0:
                raise UserError(f"runner.{name}={number}: give a number from 0")
        self.address, self.cpus, self.gpus = address, cpus, gpus
        _import_ray()

    @contextmanager
    def _crew(self, work: Work) -> Iterator["_ActorCrew"]:
        ray = _import_ray()
        with self._connected(ray):
            board = ray.remote(num_cpus=0)(_Board).remote()
            # No restarts: a dead actor's item must be counted before it is tried again.
            host = ray.remote(_Host).options(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0)
            try:
                yield _ActorCrew(ray, board, lambda name: host.remote(board, name, work, self.threads), self.time_limit)
            finally:
                ray.kill(board)

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


class _ActorCrew:
    """Starts actors and reads the board where they leave signs of life."""

    def __init__(self, ray: Any, board: Any, start: Any, time_limit: float) -> None:
        self._ray, self._board, self._start, self._time_limit = ray, board, start, time_limit

    def hire(self) -> "_Actor":
        name = str(time.monotonic_ns())
        return _Actor(self._ray, name, self._start(name))

    def answers(self, busy: list["_Actor"]) -> Iterator[tuple[Worker, Answer]]:
        ready, _ = self._ray.wait([actor.pending for actor in busy], num_returns=1, timeout=_TELL_EVERY)
        signs = self._ray.get(self._board.read.remote())
        for actor in busy:
            actor.note(signs.get(actor.name))
            if actor.pending in ready:
                yield actor, actor.answer()
            elif actor.silence() > self._time_limit:
                actor.dismiss()
                yield actor, (None, f"no progress within the time limit of {self._time_limit:g} s")


class _Actor(Worker):
    """The driver's side of one actor."""

    def __init__(self, ray: Any, name: str, actor: Any) -> None:
        super().__init__()
        self.name, self.pending = name, None
        self._ray, self._actor = ray, actor
        self._signs = 0
        self._heard: float | None = None

    def _send(self, item: Any) -> None:
        self._heard = None
        self.pending = self._actor.call.remote(item)

    def note(self, sign: tuple[int, float] | None) -> None:
        """Take in what the board says of it."""
        if sign is not None and sign[0] != self._signs:
            self._signs, self.share = sign
            self._heard = time.monotonic()

    def silence(self) -> float:
        """Seconds since its last sign; 0 before its first, while it waits for a place."""
        return 0.0 if self._heard is None else time.monotonic() - self._heard

    def answer(self) -> Answer:
        """(result, failure) of a call that is over."""
        try:
            result, failure, self.died = self._ray.get(self.pending)
            return result, failure
        except self._ray.exceptions.RayActorError as error:
            self.died = self.gone = True
            said = [line.strip() for line in str(error).splitlines() if line.strip()]
            # What was raised while the actor was made stands at the end of a traceback.
            return None, f"its worker process died ({said[-1] if 'creation task' in said[0] else said[0]})"

    def dismiss(self) -> None:
        self.gone = True
        self._ray.kill(self._actor)


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
    """A worker's actor. Calls come one at a time and are done in a process of its own: it can tell how that died."""

    def __init__(self, board: Any, name: str, work: Work, threads: int) -> None:
        self._board, self._name = board, name
        # Ray lets an actor see the GPUs that it reserved and no others: its own is the first one.
        self._worker = LoneWorker(work, threads, gpu=0)
        self._last = 0.0

    def call(self, item: Any) -> tuple[Any, str | None, bool]:
        """(result, failure, whether its process died) of one item."""
        return self._worker.answer(item, self._alive)

    def _alive(self, share: float) -> None:
        if time.monotonic() - self._last >= _TELL_EVERY:
            self._last = time.monotonic()
            self._board.write.remote(self._name, share)


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports home otherwise
    try:
        import ray
    except ImportError as error:
        raise UserError("runner=ray needs Ray: pip install 'latentsync-in-lightning[ray]'") from error
    return ray
