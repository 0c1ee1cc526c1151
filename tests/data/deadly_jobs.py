"""Lip-sync jobs of which one kills its process, run in a process of their own."""

import os
import signal
from pathlib import Path
from typing import Any

from benchmarks.stand_in import stand_in_pipeline
from latentsync.inference.batch import Batch
from latentsync.inference.jobs import Job
from latentsync.inference.options import LipSyncOptions
from latentsync.work.files import hidden_name
from latentsync.work.local_runner import LocalRunner


class Deadly:
    """Loads a pipeline that dies of a signal at inputs named so, with the output half written."""

    weights = "stand-in"

    def __call__(self) -> Any:
        pipeline: Any = stand_in_pipeline()
        run = pipeline.run

        def run_or_die(request: Any, *rest: Any) -> Any:
            if request.input.stem == "deadly":
                hidden_name(request.output).touch()
                os.kill(os.getpid(), signal.SIGSEGV)
            return run(request, *rest)

        pipeline.run = run_or_die
        return pipeline


def rows_of_a_batch(jobs: list[Job], folder: Path) -> list[dict[str, Any]]:
    """The results of jobs in one worker process, as `infer.py` gives them."""
    batch = Batch(Deadly(), LipSyncOptions(), folder)
    for outcome in LocalRunner(num_workers=1, threads=None, start_method="fork").map(batch, jobs):
        if outcome.failure is not None:
            batch.fail(outcome.item, outcome.failure)
    return batch.write_results(jobs)
