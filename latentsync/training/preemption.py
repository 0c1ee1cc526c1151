"""Being told to stop: SIGTERM, SIGUSR1 (SLURM's warning) or Ctrl-C end a run after the step in hand, on all ranks."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning
import torch
import torch.distributed as dist

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Preempted(BaseException):
    """The run was told to stop by `signum`; `step` is the last one, saved, or None when nothing was trained yet.

    Not an Exception: nothing on the way out is to swallow it.
    """

    def __init__(self, signum: int, step: int | None = None) -> None:
        self.signum, self.step = signum, step
        when = "with no step to save" if step is None else f"after step {step}, which is saved"
        super().__init__(f"stopped by {signal.Signals(signum).name} {when}")

    @property
    def exit_code(self) -> int:
        """0 for a scheduler, which starts the run again; 130, as shells have it, for Ctrl-C."""
        return 130 if self.signum == signal.SIGINT else 0


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Inside, SIGTERM and SIGUSR1 raise `Preempted`: while a run is being built there is nothing to save.

    `StopSignals` takes over for the time of training. Outside the main thread this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Preempted(signum)

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


class StopSignals:
    """Remembers the signal that asks for an end, and has all ranks agree on it after a step.

    Replaces Lightning's own handlers, which talk to other ranks from within the handler and, under SLURM, save in the
    middle of a step. A second Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}
        self._group: Any = None

    def install(self, trainer: lightning.Trainer) -> None:
        """Take over the signals; a SIGTERM that Lightning has noted since the start counts. Called on every rank."""
        self.received = signal.SIGTERM if trainer.received_sigterm else 0
        if trainer.world_size > 1 and self._group is None:
            self._group = dist.new_group(backend="gloo")  # on the CPU: no step waits for the accelerator
        if threading.current_thread() is threading.main_thread():
            self._before = {signum: signal.signal(signum, self._note) for signum in STOPPING}

    def restore(self) -> None:
        """Give the signals back."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

    def agreed(self) -> int:
        """The signal that any rank has received, or 0; the same answer on every rank, so call it on every rank."""
        if self._group is None:
            return self.received
        signum = torch.tensor([self.received])
        dist.all_reduce(signum, dist.ReduceOp.MAX, group=self._group)
        return int(signum)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = signum
