"""Lip-sync a video or a picture: `python infer.py input=talk.mp4 audio=speech.wav output=out.mp4`."""

import sys
from dataclasses import dataclass, fields
from pathlib import Path

from omegaconf import DictConfig

from configs.compose import command
from latentsync.errors import UserError
from latentsync.inference.interruption import Terminated, unwind_on_sigterm
from latentsync.inference.options import LipSyncOptions

OUTPUTS = Path("outputs")
SAMPLE = Path(__file__).resolve().parent / "checkpoints" / "demo" / "sample"


@dataclass(frozen=True)
class Files:
    """What one call reads and writes."""

    input: Path
    audio: Path | None
    output: Path
    faces: str


def run(config: DictConfig) -> None:
    """Check the request, load the networks, write the video, print what came out. Raises UserError."""
    # Here, and the networks later still: so that a mistake is answered at once.
    from latentsync.inference.request import check_request

    files = choose_files(config)
    request = check_request(files.input, files.audio, files.output, choose_options(config))

    with unwind_on_sigterm():
        from latentsync.inference.pipeline import LipSyncPipeline
        from latentsync.inference.progress import ProgressBar

        pipeline = LipSyncPipeline.from_pretrained(config.weights, config.device, config.precision, files.faces)
        with ProgressBar() as progress:
            report = pipeline.run(request, progress)
    print(report)


def choose_options(config: DictConfig) -> LipSyncOptions:
    """The configuration's keys that `LipSyncOptions` has. Raises UserError."""
    return LipSyncOptions(**{field.name: config[field.name] for field in fields(LipSyncOptions)})


def choose_files(config: DictConfig) -> Files:
    """The files that the configuration names; without input and audio, those of the sample. Raises UserError."""
    output = None if config.output is None else Path(config.output)
    if config.input is None and config.audio is None:
        if not SAMPLE.is_dir():
            raise UserError(f"the sample '{SAMPLE}' is missing; give input=FILE audio=FILE")
        faces = str(SAMPLE / "talk.json") if config.faces == "mediapipe" else config.faces
        return Files(SAMPLE / "talk.mp4", SAMPLE / "speech.wav", output or default_output("sample"), faces)
    if config.input is None:
        raise UserError("input is missing; give input=FILE (a video or a picture)")
    source = Path(config.input)
    audio = None if config.audio is None else Path(config.audio)
    return Files(source, audio, output or default_output(source.stem), config.faces)


def default_output(name: str) -> Path:
    """outputs/<name>.mp4, in a folder that is made for it."""
    OUTPUTS.mkdir(exist_ok=True)
    return OUTPUTS / f"{name}.mp4"


if __name__ == "__main__":
    try:
        command("infer", run)
    except KeyboardInterrupt as stop:
        print("stopped; nothing was written", file=sys.stderr)
        sys.exit(143 if isinstance(stop, Terminated) else 130)
