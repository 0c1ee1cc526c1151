"""Running many jobs with networks loaded once: what is done is not done again, what fails is a row with its reason."""

import csv
import glob
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from latentsync.errors import UserError
from latentsync.face.face_file import FacesFromFile
from latentsync.inference.jobs import Job
from latentsync.inference.options import LipSyncOptions
from latentsync.inference.pipeline import LipSyncPipeline
from latentsync.inference.report import Fate
from latentsync.work.claims import Claimed, run_began
from latentsync.work.files import remove_leftovers, write_whole
from latentsync.work.records import Records, job_key

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
    audio_encoder: str | None = None
    resolution: int | None = None

    def __call__(self) -> LipSyncPipeline:
        parts = (self.autoencoder, self.audio_encoder, self.resolution)
        return LipSyncPipeline.from_pretrained(self.weights, self.device, self.precision, self.faces, *parts)


class Batch:
    """Jobs that share weights, options and an output folder; its call is `work` of a runner.

    load: makes the pipeline, once in each process, at its first job. options: of all jobs; a job's own replace some.
    folder: where outputs go, with the records of what is done.
    """

    modules = ("latentsync.inference.pipeline",)

    def __init__(self, load: MakePipeline, options: LipSyncOptions, folder: Path) -> None:
        self._load, self._options, self._folder = load, options, folder
        self._records = Records(folder / RECORDS)
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

    def claimed(self, jobs: Sequence[Job]) -> Claimed[Job]:
        """Those of the jobs that no other process takes that works into the same folder, each when it is asked for."""
        return Claimed(jobs, lambda job: self._records.path(job.name).with_suffix(".lock"), self._is_settled)

    def fail(self, job: Job, reason: str) -> dict[str, Any]:
        """Record a job whose worker could not do so itself, and remove what it left half written; its row."""
        output = self._folder / job.name
        remove_leftovers(output.parent, glob.escape(output.name[:100]))
        return self._record(job, {"state": FAILED, "reason": reason})

    def write_results(self, jobs: Iterable[Job]) -> list[dict[str, Any]]:
        """results.csv and results.json: a row for each job that has run so far, in the order of the jobs."""
        stored = [found for job in jobs if (found := self._records.read(job.name)) is not None]
        rows = [{name: found.get(name) for name in _COLUMNS} for found in stored]
        file = io.StringIO()
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with _writing(self._folder):
            write_whole(self._folder / "results.csv", file.getvalue())
            write_whole(self._folder / "results.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        return rows

    def key(self, job: Job) -> str:
        """Changes with whatever a job's output depends on."""
        own = {**asdict(self._options), **job.options, "seed": job.seed(self._options.seed)}
        return job_key([self._load.weights, own], (job.input, job.audio, job.faces))

    def _is_done(self, job: Job) -> bool:
        stored = self._records.read(job.name, self.key(job))
        return stored is not None and stored["state"] == DONE and (self._folder / job.name).is_file()

    def _is_settled(self, job: Job) -> bool:
        """Whether it is done, or another process of this run has tried it."""
        with suppress(FileNotFoundError):
            if self._records.path(job.name).stat().st_mtime > run_began():
                return self._records.read(job.name, self.key(job)) is not None
        return self._is_done(job)

    def _record(self, job: Job, found: dict[str, Any]) -> dict[str, Any]:
        audio = None if job.audio is None else str(job.audio)
        row = {"output": job.name, "input": str(job.input), "audio": audio, **found}
        with _writing(self._folder):
            self._records.write(job.name, self.key(job), row)
        return row


def longest_first(jobs: Iterable[Job]) -> list[Job]:
    """The jobs by the size of what they read, which stands for their length: with the longest ones first, several
    processes that take from one pile end at about the same time."""

    def size(job: Job) -> int:
        return max(path.stat().st_size if path is not None and path.is_file() else 0 for path in (job.input, job.audio))

    return sorted(jobs, key=size, reverse=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"output_dir '{folder}': cannot be written ({error.strerror}); free space or use another folder"
        ) from error
