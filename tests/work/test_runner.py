"""Runners: every item gives one outcome, whatever becomes of the process that works on it."""

import time
from pathlib import Path

import psutil
import pytest
from clean_process import Forker
from runner_jobs import left_after_closing, outcomes

from latentsync.errors import UserError
from latentsync.work.local_runner import LocalRunner
from latentsync.work.runner import Alive, HereRunner, run_all


def test_every_item_gives_one_outcome_and_errors_are_one_line(forker: Forker, tmp_path: Path) -> None:
    found = forker.call(outcomes, folder=tmp_path, kinds=["a", "raise", "b", "c"])
    assert found == {kind: (f"{kind} done", None) for kind in "abc"} | {"raise": (None, "ValueError: cannot work")}


def test_item_whose_worker_is_killed_is_tried_again(forker: Forker, tmp_path: Path) -> None:
    found = forker.call(outcomes, folder=tmp_path, kinds=["die once", "a"])
    assert found["die once"] == ("die once done", None)
    assert (tmp_path / "died").exists()


def test_item_that_kills_its_worker_fails_and_the_rest_goes_on(forker: Forker, tmp_path: Path) -> None:
    found = forker.call(outcomes, folder=tmp_path, kinds=["die", "a", "b"])
    assert found["die"] == (None, "its worker process died (signal SIGKILL)")
    assert found["a"] == ("a done", None)
    assert found["b"] == ("b done", None)


def test_hanging_item_fails_at_the_time_limit_and_a_slow_one_does_not(forker: Forker, tmp_path: Path) -> None:
    start = time.monotonic()
    found = forker.call(outcomes, folder=tmp_path, kinds=["hang", "slow"], time_limit=0.6)
    assert found["hang"] == (None, "no progress within the time limit of 0.6 s")
    assert found["slow"] == ("slow done", None), "0.8 s in all, but never 0.6 s without a sign of life"
    assert time.monotonic() - start < 20


def test_closing_the_results_stops_the_workers(forker: Forker, tmp_path: Path) -> None:
    assert forker.call(left_after_closing, folder=tmp_path) == 0


def test_workers_leave_when_the_run_is_killed(forker: Forker, tmp_path: Path) -> None:
    run = forker.start(outcomes, folder=tmp_path, kinds=["sign", "sign"])
    while len(list(tmp_path.glob("*.alive"))) < 2:
        time.sleep(0.01)
    run.kill()
    run.join()
    pids = [int(path.stem) for path in tmp_path.glob("*.alive")]
    for _ in range(500):
        if not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
            return
        time.sleep(0.01)
    pytest.fail("workers outlive their run by five seconds")


@pytest.mark.parametrize(
    "settings", [{"num_workers": 0}, {"time_limit": 0}, {"attempts": 0}, {"threads": 0}, {"start_method": "thread"}]
)
def test_settings_out_of_range_are_refused_by_name(settings: dict) -> None:
    with pytest.raises(UserError, match=f"runner.{next(iter(settings))}"):
        LocalRunner(**settings)


def test_a_mistake_in_the_command_ends_the_run_and_other_failures_do_not() -> None:
    def work(item: int, alive: Alive) -> int:
        if item == 2:
            raise UserError("weights: none there")
        return 10 // item

    outcomes = run_all(HereRunner(), work, [1, 0, 2, 1], "items")
    assert next(outcomes).result == 10
    assert next(outcomes).failure == "ZeroDivisionError: integer division or modulo by zero"
    with pytest.raises(UserError, match=r"^weights: none there$"):
        next(outcomes)
