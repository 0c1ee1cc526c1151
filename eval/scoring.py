"""Scoring many videos: in several processes, resumable, one bad video being a row with its reason."""

import hashlib
import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.runner import Alive, Runner
from data_prep.sample import write_whole
from eval.metrics.registry import make_metric
from eval.video import Scores, VideoScorer
from latentsync.errors import UserError
from latentsync.inference.progress import ProgressBar


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
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **scores.features)
            write_whole(features, buffer.getvalue())
        content: dict[str, Any] = {"key": key(self._settings, task), "error": error}
        content |= {"values": scores.values, "missing": scores.missing}
        content |= {"frames": scores.frames, "without_face": scores.without_face}
        write_whole(_stored(self._folder, task.kind, task.name), json.dumps(content).encode())


def score_all(tasks: Sequence[Task], settings: Settings, folder: Path, runner: Runner) -> dict[Task, dict[str, Any]]:
    """What each task gave; those that are stored with the same settings and files are not done again."""
    for kind in {task.kind for task in tasks}:
        (folder / kind).mkdir(parents=True, exist_ok=True)
    todo = [task for task in tasks if read(folder, task, settings) is None]
    failures: dict[Task, str] = {}
    with ProgressBar("videos scored") as bar:
        for done, outcome in enumerate(runner.map(Work(settings, folder), todo), start=1):
            bar(done, len(todo))
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
    try:
        content = json.loads(_stored(folder, task.kind, task.name).read_text())
        return content if content["key"] == key(settings, task) else None
    except (OSError, ValueError, KeyError):
        return None


def key(settings: Settings, task: Task) -> str:
    """Changes with whatever the scores depend on."""
    files = [path for path in (task.video, task.reference, task.video.with_suffix(".json")) if path is not None]
    marks = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files if path.is_file()]
    text = json.dumps([asdict(settings), marks], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def features_file(folder: Path, kind: str, name: str) -> Path:
    """Where the features of a task lie, if it has any."""
    return _stored(folder, kind, name).with_suffix(".npz")


def features_files(folder: Path, names: Iterable[str]) -> list[tuple[Path, Path]]:
    """Of each video what was generated and the truth."""
    return [(features_file(folder, "generated", name), features_file(folder, "truth", name)) for name in names]


def _stored(folder: Path, kind: str, name: str) -> Path:
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return folder / kind / f"{digest}.json"
