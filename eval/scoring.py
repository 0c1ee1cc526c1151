"""Scoring many videos: in several processes, resumable, one bad video being a row with its reason."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.registry import make_metric
from eval.video import Scores, VideoScorer
from latentsync.errors import UserError
from latentsync.work.files import written_whole
from latentsync.work.records import Records, job_key
from latentsync.work.runner import Alive, Runner, run_all


@dataclass(frozen=True)
class Task:
    """A video to score. kind: "generated" or "truth"; reference: the video to compare with, None = none."""

    kind: str
    name: str
    video: Path
    reference: Path | None


@dataclass(frozen=True)
class Settings:
    """metrics: group -> options; resolution: of the aligned crops; finder: see `eval.video.Faces`."""

    metrics: Mapping[str, Mapping[str, Any]]
    resolution: int
    finder: str


class Work:
    """`work` of a runner: score a task and store what came out below `folder`."""

    modules = ("eval.video", "eval.metrics.registry")

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._scorer: VideoScorer | None = None

    def __call__(self, task: Task, alive: Alive) -> None:
        if self._scorer is None:
            metrics = {name: make_metric(name, options) for name, options in self._settings.metrics.items()}
            self._scorer = VideoScorer(metrics, self._settings.resolution, self._settings.finder)
        error: str | None = None
        try:
            scores = self._scorer.score(task.video, task.reference, alive)
        except (UserError, ValueError) as mistake:
            scores, error = Scores(), str(mistake)
        features = features_file(self._folder, task.kind, task.name)
        features.unlink(missing_ok=True)  # of other settings
        if scores.features:
            with written_whole(features) as part, part.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **scores.features)
        content: dict[str, Any] = {"error": error, "values": scores.values, "missing": scores.missing}
        content |= {"frames": scores.frames, "without_face": scores.without_face}
        Records(self._folder / task.kind).write(task.name, key(self._settings, task), content)


def score_all(tasks: Sequence[Task], settings: Settings, folder: Path, runner: Runner) -> dict[Task, dict[str, Any]]:
    """What each task gave; those that are stored with the same settings and files are not done again."""
    todo = [task for task in tasks if read(folder, task, settings) is None]
    failures: dict[Task, str] = {}
    for outcome in run_all(runner, Work(settings, folder), todo, "videos scored"):
        if outcome.failure is not None:
            failures[outcome.item] = outcome.failure
            print(f"video '{outcome.item.name}' failed: {outcome.failure}", file=sys.stderr, flush=True)
    empty: dict[str, Any] = {"values": {}, "missing": {}, "frames": 0, "without_face": 0}
    return {
        task: read(folder, task, settings) or {**empty, "error": failures.get(task, "its result is gone")}
        for task in tasks
    }


def read(folder: Path, task: Task, settings: Settings) -> dict[str, Any] | None:
    """What is stored of a task, None where there is nothing of these settings and files."""
    return Records(folder / task.kind).read(task.name, key(settings, task))


def key(settings: Settings, task: Task) -> str:
    """Changes with whatever the scores depend on."""
    return job_key(asdict(settings), (task.video, task.reference, task.video.with_suffix(".json")))


def features_file(folder: Path, kind: str, name: str) -> Path:
    """Where the features of a task lie, if it has any."""
    return Records(folder / kind).path(name).with_suffix(".npz")


def features_files(folder: Path, names: Iterable[str]) -> list[tuple[Path, Path]]:
    """Of each video what was generated and the truth."""
    return [(features_file(folder, "generated", name), features_file(folder, "truth", name)) for name in names]
