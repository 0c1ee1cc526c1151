"""What the tests of runners let run, in a process of its own: items that work, raise, hang and die."""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from latentsync.work.gpus import own_device
from latentsync.work.local_runner import LocalRunner
from latentsync.work.runner import Alive

Job = tuple[str, Path]


def act(job: Job, alive: Alive) -> str:
    """What an item does: its first word says."""
    kind, folder = job
    if kind == "raise":
        raise ValueError("cannot\nwork")
    if kind == "hang":
        time.sleep(60)
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "die once" and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "slow":
        for step in range(8):
            time.sleep(0.1)
            alive(step / 8)
    if kind == "sign":
        while True:
            (folder / f"{os.getpid()}.alive").touch()
            alive(0.5)
            time.sleep(0.02)
    return f"{kind} done"


def outcomes(folder: Path, kinds: list[str], **settings: float) -> dict[str, tuple[str | None, str | None]]:
    """Kind -> (result, failure)."""
    runner = LocalRunner(num_workers=2, start_method="fork", **settings)  # type: ignore[arg-type]
    found = list(runner.map(act, [(kind, folder) for kind in kinds]))
    assert len(found) == len(kinds)
    return {outcome.item[0]: (outcome.result, outcome.failure) for outcome in found}


def ray_outcomes(folder: Path, kinds: list[str], **settings: float) -> dict[str, tuple[str | None, str | None]]:
    """As `outcomes`, in actors of a Ray that lives for this call."""
    from latentsync.work.ray_runner import RayRunner

    runner = RayRunner(num_workers=2, **settings)  # type: ignore[arg-type]
    found = list(runner.map(act, [(kind, folder) for kind in kinds]))
    assert len(found) == len(kinds)
    return {outcome.item[0]: (outcome.result, outcome.failure) for outcome in found}


def left_after_closing(folder: Path) -> int:
    """How many workers live on after the results are closed with items under way."""
    jobs = [("a", folder), ("hang", folder), ("hang", folder)]
    results = LocalRunner(num_workers=2, start_method="fork").map(act, jobs)
    next(results)
    children = psutil.Process().children()
    results.close()  # type: ignore[attr-defined]
    _, left = psutil.wait_procs([child for child in children if child.is_running()], timeout=3)
    return sum(child.status() != psutil.STATUS_ZOMBIE for child in left)


def with_small_files(largest: int, function: Callable[..., Any], **arguments: Any) -> Any:
    """Call a function in a process whose files may not grow beyond so many bytes, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    return function(**arguments)


class _OwnGpu:
    """`work` that tells which device "cuda" is, and is not over before all workers have one to tell of."""

    def __init__(self, meeting: Any) -> None:
        self._meeting = meeting

    def __call__(self, item: int, alive: Alive) -> str:
        self._meeting.wait(30)
        return own_device("cuda")


def own_gpus(runner: LocalRunner, count: int) -> list[str]:
    """What "cuda" means in each of `count` workers that work at the same time."""
    meeting = multiprocessing.get_context("fork").Barrier(count)
    return [str(outcome.result) for outcome in runner.map(_OwnGpu(meeting), range(count))]


def gpus_of_workers(visible: int, workers: int | str, jobs: int, environment: dict[str, str]) -> list[str]:
    """`own_gpus` in a process that sees so many, to be called in one that has no threads: its workers are forked."""
    import torch

    os.environ.update(environment)
    torch.cuda.device_count = lambda: visible
    return own_gpus(LocalRunner(workers, start_method="fork"), jobs)
