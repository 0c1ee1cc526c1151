"""Many jobs: each is done once, a bad one is a row, and how they are shared out changes nothing."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clean_process import Forker
from deadly_jobs import rows_of_a_batch
from hydra.utils import instantiate

from benchmarks.stand_in import stand_in_pipeline
from configs.compose import load_config
from latentsync.inference.batch import Batch
from latentsync.inference.jobs import Job
from latentsync.inference.options import LipSyncOptions
from latentsync.work.local_runner import LocalRunner
from latentsync.work.runner import HereRunner

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class StandIn:
    """Loads a pipeline without networks worth the name, and counts how often."""

    weights: str = "stand-in"
    loaded: int = 0

    def __call__(self) -> Any:
        self.loaded += 1
        return stand_in_pipeline()


def jobs(head: Any, count: int = 4) -> list[Job]:
    made = [Job(f"sub {n}/out.mp4", head.video, head.audio) for n in range(count)]
    made[1] = Job("sub 1/out.mp4", head.video.with_name("missing.mp4"), head.audio)
    return made


def run(batch: Batch, chosen: list[Job]) -> dict[str, dict]:
    return {outcome.item.name: outcome.result for outcome in HereRunner().map(batch, chosen)}


def test_a_failed_job_is_a_row_and_the_rest_goes_on(head: Any, tmp_path: Path) -> None:
    load = StandIn()
    batch, all_jobs = Batch(load, LipSyncOptions(), tmp_path), jobs(head)
    rows = run(batch, all_jobs)
    assert [row["state"] for row in rows.values()] == ["done", "failed", "done", "done"]
    assert "no such file" in rows["sub 1/out.mp4"]["reason"]
    assert load.loaded == 1
    batch.write_results(all_jobs)
    table = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [row["state"] for row in table] == ["done", "failed", "done", "done"]
    assert json.loads((tmp_path / "results.json").read_text())[0]["frames"] == len(head.frames)
    assert len({row["seed"] for row in table if row["seed"]}) == 3, "a seed of its own for each"


def test_a_job_that_kills_its_worker_is_a_row_with_the_signal_and_the_rest_goes_on(
    forker: Forker, head: Any, tmp_path: Path
) -> None:
    deadly, out = tmp_path / "deadly.mp4", tmp_path / "out"
    deadly.write_bytes(head.video.read_bytes())
    chosen = [Job("a.mp4", head.video, head.audio), Job("b[1].mp4", deadly, head.audio), jobs(head)[2]]
    rows = forker.call(rows_of_a_batch, jobs=chosen, folder=out)
    assert [row["state"] for row in rows] == ["done", "failed", "done"]
    assert rows[1]["reason"] == "its worker process died (signal SIGSEGV)"
    assert sorted(path.name for path in out.rglob("*.mp4")) == ["a.mp4", "out.mp4"]
    assert not list(out.rglob(".*.part")), "nothing half written is left"


def test_jobs_run_apart_without_a_runner_of_their_own() -> None:
    runner = instantiate(load_config("infer", []).runner)
    assert isinstance(runner, LocalRunner)
    assert (runner.num_workers, runner.threads) == (1, None)


def test_only_what_is_missing_or_changed_is_done_again(head: Any, tmp_path: Path) -> None:
    batch, all_jobs = Batch(StandIn(), LipSyncOptions(), tmp_path), jobs(head)
    run(batch, all_jobs)
    assert [job.name for job in batch.unfinished(all_jobs)] == ["sub 1/out.mp4"]
    (tmp_path / "sub 2/out.mp4").unlink()
    assert [job.name for job in batch.unfinished(all_jobs)] == ["sub 1/out.mp4", "sub 2/out.mp4"]
    assert len(Batch(StandIn("other"), LipSyncOptions(), tmp_path).unfinished(all_jobs)) == 4
    assert len(Batch(StandIn(), LipSyncOptions(crf=30), tmp_path).unfinished(all_jobs)) == 4


def test_results_do_not_depend_on_how_jobs_are_shared_out(head: Any, tmp_path: Path) -> None:
    all_jobs = jobs(head, 5)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    run(Batch(StandIn(), LipSyncOptions(seed=9), alone), all_jobs)
    batches = [Batch(StandIn(), LipSyncOptions(seed=9), shared) for _ in range(2)]
    piles = [iter(batch.claimed(all_jobs)) for batch in batches]
    shares = [[next(piles[1]), next(piles[1])], [next(piles[0])], list(piles[1])]
    assert sorted(job.name for share in shares for job in share) == sorted(job.name for job in all_jobs)
    for share, batch in zip(shares, (batches[1], batches[0], batches[1])):
        run(batch, share[::-1])
    assert not list(piles[0])
    results = [Batch(StandIn(), LipSyncOptions(seed=9), folder).write_results(all_jobs) for folder in (alone, shared)]
    assert results[0] == results[1]
    for job in all_jobs:
        if (alone / job.name).exists():
            assert (alone / job.name).read_bytes() == (shared / job.name).read_bytes()


def test_a_job_may_bring_its_own_faces(head: Any, tmp_path: Path) -> None:
    batch = Batch(StandIn(), LipSyncOptions(), tmp_path)
    rows = run(batch, [Job("a.mp4", head.video, head.audio, faces=head.faces), Job("b.mp4", head.video, head.audio)])
    assert {row["state"] for row in rows.values()} == {"done"}
    assert (tmp_path / "a.mp4").read_bytes() != (tmp_path / "b.mp4").read_bytes()


@pytest.mark.slow
def test_two_processes_of_torchrun_do_all_jobs_once(tmp_path: Path) -> None:
    sample = REPOSITORY / "checkpoints" / "demo" / "sample"
    lines = [f"{sample}/talk.mp4,{sample}/speech.wav,{n} 'o'; ü.mp4,{sample}/talk.json" for n in range(2)]
    (tmp_path / "jobs.csv").write_text("\n".join(["input,audio,output,faces", *lines, "none.mp4,,,"]) + "\n")
    arguments = [f"manifest={tmp_path / 'jobs.csv'}", f"output_dir={tmp_path / 'out'}", "num_inference_steps=1"]
    command = [sys.executable, "infer.py", *arguments, "longer_audio=stop"]
    environment = {**os.environ, "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            command, cwd=REPOSITORY, env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    codes = [(rank.communicate(timeout=280)[0], rank.returncode) for rank in ranks]
    assert sorted(code for _, code in codes) == [0, 1], "the rank with the missing file"
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 1
    assert "2 of 3 jobs are done already" in done.stdout
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["state"] for row in rows] == ["done", "done", "failed"]
    assert {path.name for path in (tmp_path / "out").glob("*.mp4")} == {"0 'o'; ü.mp4", "1 'o'; ü.mp4"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["manifest=jobs.csv"], "output_dir is missing"),
        (["manifest=jobs.csv", "inputs=a", "audios=b"], "give either manifest"),
        (["inputs=a"], "give either manifest"),
        (["manifest=jobs.csv", "input=a.mp4", "output_dir=x"], "input=a.mp4 is for one job"),
        (["manifest=nowhere.csv", "output_dir=x"], "manifest 'nowhere.csv': no such file"),
    ],
)
def test_mistakes_in_a_batch_are_one_line(arguments: list[str], said: str) -> None:
    from infer import run as infer
    from latentsync.errors import UserError

    with pytest.raises(UserError) as error:
        infer(load_config("infer", arguments))
    assert said in str(error.value)
