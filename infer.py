"""Lip-sync a video or a picture: `python infer.py input=talk.mp4 audio=speech.wav output=out.mp4`.

Or many: `python infer.py manifest=jobs.csv output_dir=DIR`, or `inputs=DIR audios=DIR output_dir=DIR`.
"""

import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from configs.compose import command
from latentsync.errors import UserError
from latentsync.inference.options import USUAL_SUFFIX, LipSyncOptions

if TYPE_CHECKING:
    from latentsync.inference.jobs import Job

OUTPUTS = Path("outputs")
SAMPLE = Path(__file__).resolve().parent / "checkpoints" / "demo" / "sample" / "real"


@dataclass(frozen=True)
class Files:
    """What one call reads and writes."""

    input: Path
    audio: Path | None
    output: Path
    faces: str


def run(config: DictConfig) -> None:
    """Check the request, load the networks, write the video, print what came out. Raises UserError."""
    if config.manifest is not None or config.inputs is not None or config.audios is not None:
        run_batch(config)
        return
    # Here, and the networks later still: so that a mistake is answered at once.
    from latentsync.inference.request import check_request

    files = choose_files(config)
    request = check_request(files.input, files.audio, files.output, choose_options(config))

    from latentsync.inference.pipeline import LipSyncPipeline
    from latentsync.work.progress import ProgressBar

    parts = (config.autoencoder, config.audio_encoder, config.resolution)
    pipeline = LipSyncPipeline.from_pretrained(config.weights, config.device, config.precision, files.faces, *parts)
    with ProgressBar() as progress:
        report = pipeline.run(request, progress)
    print(report)


def run_batch(config: DictConfig) -> None:
    """Do all jobs that are not done, in one process or by `runner`; exit code 1 if one failed. Raises UserError."""
    from latentsync.inference.face_choice import check_face
    from latentsync.inference.jobs import folder_jobs, read_manifest

    if (config.manifest is None) == (config.inputs is None) or (config.inputs is None) != (config.audios is None):
        raise UserError("give either manifest=FILE, or inputs=DIR and audios=DIR")
    given = [name for name in ("input", "audio", "output", "report") if config[name] is not None]
    if given:
        raise UserError(
            f"{given[0]}={config[given[0]]} is for one job; many have output_dir, and their own results.json"
        )
    if config.output_dir is None:
        raise UserError("output_dir is missing; give output_dir=DIR")
    folder, options = Path(config.output_dir), choose_options(config)
    check_face(options)
    if config.inputs is None:
        jobs = read_manifest(config.manifest, options.usual_suffix)
    else:
        jobs = folder_jobs(config.inputs, config.audios, options.usual_suffix)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir '{folder}': {error.strerror}; give another folder") from error
    if do_jobs(config, jobs, options, folder):
        sys.exit(1)


def do_jobs(config: DictConfig, jobs: "list[Job]", options: LipSyncOptions, folder: Path) -> int:
    """Run what is left and no other process takes; how many of this one's jobs failed. Raises UserError."""
    from hydra.utils import instantiate

    from latentsync.inference.batch import DONE, FAILED, Batch, Loader, longest_first
    from latentsync.work.runner import run_all

    parts = (config.autoencoder, config.audio_encoder, config.resolution)
    load = Loader(str(config.weights), str(config.device), config.precision, str(config.faces), *parts)
    batch = Batch(load, options, folder)
    runner = instantiate(config.runner)
    todo = batch.unfinished(jobs)
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} jobs are done already", flush=True)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 or getattr(runner, "num_workers", 1) > 1:
        todo = longest_first(todo)
    mine, failed = batch.claimed(todo), 0
    for outcome in run_all(runner, batch, mine, "jobs"):
        row = outcome.result or batch.fail(outcome.item, str(outcome.failure))
        mine.release(outcome.item)
        failed += row["state"] == FAILED
        print(f"{outcome.item.name}: {row['reason'] if row['state'] == FAILED else 'done'}", flush=True)
        batch.write_results(jobs)
    done = sum(row["state"] == DONE for row in batch.write_results(jobs))
    print(f"{done} of {len(jobs)} jobs done; results in {folder / 'results.csv'}")
    return failed


def choose_options(config: DictConfig) -> LipSyncOptions:
    """The configuration's keys that `LipSyncOptions` has. Raises UserError."""
    return LipSyncOptions(**{field.name: config[field.name] for field in fields(LipSyncOptions)})


def choose_files(config: DictConfig) -> Files:
    """The files that the configuration names; without input and audio, those of the sample. Raises UserError."""
    output = None if config.output is None else Path(config.output)
    if config.input is None and config.audio is None:
        if not SAMPLE.is_dir():
            raise UserError(f"the sample '{SAMPLE}' is missing; give input=FILE audio=FILE")
        source, speech = SAMPLE / "man_reads.mkv", SAMPLE / "man_reads_another.mkv"
        return Files(source, speech, output or default_output("sample", config.codec), config.faces)
    if config.input is None:
        raise UserError("input is missing; give input=FILE (a video or a picture)")
    source = Path(config.input)
    audio = None if config.audio is None else Path(config.audio)
    return Files(source, audio, output or default_output(source.stem, config.codec), config.faces)


def default_output(name: str, codec: str) -> Path:
    """outputs/<name>.mp4, or as the codec wants it, in a folder that is made for it."""
    OUTPUTS.mkdir(exist_ok=True)
    return OUTPUTS / f"{name}{USUAL_SUFFIX.get(codec, '.mp4')}"


if __name__ == "__main__":
    command("infer", run, "stopped; nothing is half written")
