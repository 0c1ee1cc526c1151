"""Running many jobs with networks loaded once: what is done is not done again, what fails is a row with its reason."""

import csv
import hashlib
import io
import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from latentsync.errors import UserError
from latentsync.inference.face_file import FacesFromFile
from latentsync.inference.jobs import Job
from latentsync.inference.options import LipSyncOptions
from latentsync.inference.pipeline import LipSyncPipeline
from latentsync.inference.report import Fate

RECORDS = ".jobs"
DONE, FAILED = "done", "failed"
_COLUMNS = ("output", "state", "input", "audio", "frames", "seconds", "without_face", "seed", "reason")


class MakePipeline(Protocol):
    """Loads the pipeline where it is needed, in whichever process that is."""

    @property
    def weights(self) -> str: ...

    def __call__(self) -> LipSyncPipeline: ...


@dataclass(frozen=True)
class Loader:
    """See `LipSyncPipeline.from_pretrained`."""

    weights: str
    device: str = "auto"
    precision: str | int = 32
    faces: str = "mediapipe"
    autoencoder: str | None = None

    def __call__(self) -> LipSyncPipeline:
        return LipSyncPipeline.from_pretrained(self.weights, self.device, self.precision, self.faces, self.autoencoder)


class Batch:
    """Jobs that share weights, options and an output folder; its call is `work` of a runner.

    load: makes the pipeline, once in each process, at its first job. options: of all jobs; a job's own replace some.
    folder: where outputs go, with the records of what is done.
    """

    modules = ("latentsync.inference.pipeline",)

    def __init__(self, load: MakePipeline, options: LipSyncOptions, folder: Path) -> None:
        self._load, self._options, self._folder = load, options, folder
        self._pipeline: LipSyncPipeline | None = None

    def __call__(self, job: Job, alive: Callable[[float], None]) -> dict[str, Any]:
        """Do a job; its row of the results. Raises UserError for weights that cannot be loaded: no job escapes that."""
        if self._pipeline is None:
            self._pipeline = self._load()
        try:
            found = self._run(self._pipeline, job, alive)
        except UserError as error:
            found = {"state": FAILED, "reason": str(error)}
        except Exception as error:  # whatever one input does to a decoder or a network, the others go on
            found = {"state": FAILED, "reason": " ".join(f"{type(error).__name__}: {error}".split())}
        return self._record(job, found)

    def _run(self, pipeline: LipSyncPipeline, job: Job, alive: Callable[[float], None]) -> dict[str, Any]:
        output, finder = self._folder / job.name, pipeline.face_finder
        output.parent.mkdir(parents=True, exist_ok=True)
        own = self._options.changed(**{**job.options, "seed": job.seed(self._options.seed)})
        if job.faces is not None:
            pipeline.face_finder = FacesFromFile(job.faces)
        try:
            report = pipeline(
                job.input, job.audio, output, own, lambda done, total: alive(min(1.0, done / max(1, total)))
            )
        finally:
            pipeline.face_finder = finder
        found = {"frames": report.num_frames, "seconds": round(report.seconds, 4), "seed": report.seed}
        return {"state": DONE, **found, "without_face": report.count(Fate.NO_FACE)}

    def unfinished(self, jobs: Iterable[Job]) -> list[Job]:
        """Those without a finished output of just these files, options and weights."""
        return [job for job in jobs if not self._is_done(job)]

    def fail(self, job: Job, reason: str) -> None:
        """Record a job whose worker could not do so itself."""
        self._record(job, {"state": FAILED, "reason": reason})

    def write_results(self, jobs: Iterable[Job]) -> list[dict[str, Any]]:
        """results.csv and results.json: a row for each job that has run so far, in the order of the jobs."""
        stored = [found for job in jobs if (found := self._read(job)) is not None]
        rows = [{name: found.get(name) for name in _COLUMNS} for found in stored]
        file = io.StringIO()
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        _write(self._folder / "results.csv", file.getvalue())
        _write(self._folder / "results.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        return rows

    def key(self, job: Job) -> str:
        """Changes with whatever a job's output depends on."""
        marks: list[Any] = [self._load.weights]
        for path in (job.input, job.audio, job.faces):
            if path is not None and path.is_file():
                status = path.stat()
                marks.append([str(path), status.st_size, status.st_mtime_ns])
        own = {**asdict(self._options), **job.options, "seed": job.seed(self._options.seed)}
        return hashlib.sha256(json.dumps([own, marks], sort_keys=True, default=str).encode()).hexdigest()

    def _is_done(self, job: Job) -> bool:
        stored = self._read(job)
        if stored is None or stored.get("state") != DONE or stored.get("key") != self.key(job):
            return False
        return (self._folder / job.name).is_file()

    def _record(self, job: Job, found: dict[str, Any]) -> dict[str, Any]:
        audio = None if job.audio is None else str(job.audio)
        row = {"output": job.name, "input": str(job.input), "audio": audio, **found}
        _write(self._place(job), json.dumps({"key": self.key(job), **row}))
        return row

    def _read(self, job: Job) -> dict[str, Any] | None:
        try:
            return json.loads(self._place(job).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def _place(self, job: Job) -> Path:
        return self._folder / RECORDS / f"{hashlib.sha256(job.name.encode()).hexdigest()[:16]}.json"


def share_of(jobs: Sequence[Job], rank: int, world_size: int) -> list[Job]:
    """The jobs of one process out of several, every one in exactly one share."""
    return list(jobs[rank::world_size])


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise UserError(f"'{path}': cannot be written ({error.strerror}); free space or use another folder") from error
    finally:
        partial.unlink(missing_ok=True)
