"""Many jobs from one table or two folders: what goes in, where it comes out, and with which options."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from latentsync.errors import UserError
from latentsync.inference.options import LipSyncOptions
from latentsync.inference.request import OUTPUT_SUFFIXES
from latentsync.media.probe import IMAGE_SUFFIXES, VIDEO_SUFFIXES

AUDIO_SUFFIXES = frozenset({".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".opus"})
_FILES = ("input", "audio", "output", "faces")
_OPTIONS = {option.name: option for option in fields(LipSyncOptions) if option.name != "report"}


@dataclass(frozen=True)
class Job:
    """name: the output below the output folder, with '/'; faces: a landmarks JSON, None = as the pipeline finds them;
    options: those of `LipSyncOptions` that this job has of its own."""

    name: str
    input: Path
    audio: Path | None
    faces: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def seed(self, base: int) -> int:
        """Its own seed where no option names one: from `base` and its name, so that neither the other jobs nor their
        order change what comes out."""
        given = self.options.get("seed")
        if given:
            return int(given)
        digest = hashlib.sha256(f"{base}/{self.name}".encode()).digest()
        return 1 + int.from_bytes(digest[:8], "big") % (2**31 - 1)


def read_manifest(path: str | Path, suffix: str = ".mp4") -> list[Job]:
    """The jobs of a CSV with a header: input, audio (empty: the input's own sound), output (empty: NAME and `suffix`,
    or that of the job's own codec), faces (a landmarks JSON) and any option of `LipSyncOptions`.

    An empty cell leaves an option as it is elsewhere. Paths are relative to the CSV's folder; outputs to the output
    folder, which they cannot leave. Raises UserError with the line's number.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"manifest '{path}': no such file; give a CSV with the columns input, audio, output")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or [])
            lines = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"manifest '{path}': not a CSV in UTF-8 ({error})") from error
    unknown = [column for column in columns if column not in (*_FILES, *_OPTIONS)]
    if unknown or "input" not in columns:
        known = ", ".join((*_FILES, *_OPTIONS))
        raise UserError(
            f"manifest '{path}': {f'unknown column {unknown[0]!r}' if unknown else 'no column input'}; known: {known}"
        )
    if not lines:
        raise UserError(f"manifest '{path}': no job in it")
    return _unique(
        [_job(path, number, line, suffix) for number, line in enumerate(lines, start=2)], f"manifest '{path}'"
    )


def _job(manifest: Path, number: int, line: Mapping[str, str | None], suffix: str) -> Job:
    where = f"manifest '{manifest}', line {number}"
    if None in line or None in line.values():
        raise UserError(f"{where}: more or fewer cells than the header")
    cells = {name: (value or "").strip() for name, value in line.items()}
    if not cells["input"]:
        raise UserError(f"{where}: no input")
    source, audio, faces = (_path(manifest, cells.get(name)) for name in ("input", "audio", "faces"))
    assert source is not None
    options = {name: _value(where, name, cells[name]) for name in _OPTIONS if cells.get(name)}
    try:
        own = LipSyncOptions(**options)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    named = cells.get("output") or source.stem + (own.usual_suffix if "codec" in options else suffix)
    return Job(output_name(named, where), source, audio, faces, options)


def _path(manifest: Path, text: str | None) -> Path | None:
    return manifest.parent / text if text else None


def _value(where: str, name: str, text: str) -> Any:
    """A cell as the type of the option's default."""
    default = _OPTIONS[name].default
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise UserError(f"{where}: {name}={text} is neither true nor false")
        return text.lower() == "true"
    if isinstance(default, int | float) or name in ("silence_gate", "guidance_scale"):
        try:
            return int(text) if isinstance(default, int) else float(text)
        except ValueError as error:
            raise UserError(f"{where}: {name}={text} is not a number") from error
    return text


def output_name(text: str, where: str) -> str:
    """The name of an output below the output folder. Raises UserError for one that would leave it."""
    name = PurePosixPath(text)
    if name.is_absolute() or ".." in name.parts or "\\" in text or "\0" in text or name.name.startswith("."):
        raise UserError(f"{where}: output '{text}' is not a plain path below the output folder")
    if name.suffix.lower() not in OUTPUT_SUFFIXES:
        raise UserError(
            f"{where}: output '{text}': cannot write '{name.suffix}' files; use {', '.join(OUTPUT_SUFFIXES)}"
        )
    return name.as_posix()


def folder_jobs(inputs: str | Path, audios: str | Path, suffix: str = ".mp4") -> list[Job]:
    """Every video or picture of one folder with every sound of another: outputs INPUT__AUDIO and `suffix`.

    Raises UserError.
    """
    sources = _files(inputs, "inputs", VIDEO_SUFFIXES | IMAGE_SUFFIXES)
    sounds = _files(audios, "audios", AUDIO_SUFFIXES | VIDEO_SUFFIXES)
    pairs = [(source, sound) for source in sources for sound in sounds]
    return _unique(
        [Job(f"{source.stem}__{sound.stem}{suffix}", source, sound) for source, sound in pairs], "inputs × audios"
    )


def _files(folder: str | Path, key: str, suffixes: Iterable[str]) -> list[Path]:
    folder, known = Path(folder), frozenset(suffixes)
    if not folder.is_dir():
        raise UserError(f"{key} '{folder}': no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in known and not path.name.startswith("."))
    if not found:
        raise UserError(f"{key} '{folder}': holds no {' '.join(sorted(known))} file")
    return found


def _unique(jobs: list[Job], where: str) -> list[Job]:
    seen: set[str] = set()
    for job in jobs:
        if job.name in seen:
            raise UserError(f"{where}: two jobs would write '{job.name}'; name their outputs")
        seen.add(job.name)
    return jobs
