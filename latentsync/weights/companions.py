"""What a U-Net goes with: the autoencoder and audio encoder it was trained with, and what else it takes for granted.

Kept beside the U-Net as `model.json`, in training checkpoints under "model", and read wherever a model is used:

    {"audio_encoder": {"source": "whisper-tiny.en", "fingerprint": "1f0c…"}, "autoencoder": {"source": "vae"},
     "resolution": 256, "num_frames": 16}

A part's source is a folder beside `model.json`, a name that `fetch` knows, or a path; "source" alone may stand in for
the table.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from latentsync.errors import UserError
from latentsync.weights.known import KNOWN
from latentsync.weights.registry import NAMES, find, place

MODEL_FILE = "model.json"
# Where each part may be inside a model's folder; the first is ours.
PLACES = {
    "autoencoder": ("vae", "sd-vae-ft-mse"),
    "audio_encoder": ("audio_encoder", "whisper/tiny.pt", "whisper/small.pt", "whisper-tiny", "tiny.pt", "tiny.en.pt"),
}


@dataclass(frozen=True)
class Part:
    """One companion. source: see the module; fingerprint: see `weight_files.fingerprint`; None = not told."""

    source: str
    fingerprint: str | None = None


ALIGNMENT, MASK = "latentsync three points", "latentsync mouth"  # the ways that this version has


@dataclass(frozen=True)
class Companions:
    """None = not told. resolution: pixels; num_frames: in a window; schedule: arguments of `NoiseSchedule`;
    guidance_scale: that the model is best used with; alignment, mask: names of the way faces are aligned and of the
    region that is generated."""

    autoencoder: Part | None = None
    audio_encoder: Part | None = None
    resolution: int | None = None
    num_frames: int | None = None
    alignment: str | None = None
    mask: str | None = None
    schedule: dict[str, Any] | None = None
    guidance_scale: float | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any], where: str) -> "Companions":
        """From what `model.json` or a checkpoint says; keys of later versions are passed over. Raises UserError."""
        try:
            parts: dict[str, Any] = {name: _part(told[name]) for name in PLACES if told.get(name) is not None}
            rest = {name: told[name] for name in cls.__dataclass_fields__ if name in told and name not in PLACES}
            return cls(**parts, **rest)
        except (TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{where}: does not describe a model's parts ({error})") from error

    def as_dict(self) -> dict[str, Any]:
        """For JSON; what is not told is left out."""
        return asdict(self, dict_factory=lambda items: {name: value for name, value in items if value is not None})


def _part(told: Any) -> Part:
    return Part(told) if isinstance(told, str) else Part(str(told["source"]), told.get("fingerprint"))


def read_companions(folder: Path) -> Companions:
    """What the `model.json` in a folder says; nothing where there is none. Raises UserError for a damaged one."""
    path = folder / MODEL_FILE
    if not path.is_file():
        return Companions()
    try:
        told = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(told, dict):
        raise UserError(f"{path}: is not a table of a model's parts")
    return Companions.of(told, str(path))


def portable(origin: Mapping[str, str] | None) -> Part | None:
    """A part by where it was loaded from: by its known name where it is what `fetch` makes of one, else by path."""
    if origin is None:
        return None
    path = Path(origin["source"]).resolve()
    for entry in KNOWN:
        file = place(entry.files[0]).resolve()
        if path == file or (path == file.parent and (entry.network or file.name == "config.json")):
            return Part(entry.name, origin["fingerprint"])
    return Part(origin["source"], origin["fingerprint"])


def find_part(part: str, source: str | Path, beside: Path | None = None) -> Path:
    """Where a companion is.

    part: "autoencoder" or "audio_encoder"; source: a folder in `beside`, a known name, a model ("demo", or a folder),
    whose own part is taken, or a path. Raises UserError that says what is missing and how to get it.
    """
    if beside is not None and (beside / source).exists():
        return beside / source
    path = find(source, part)
    if not path.is_dir():
        return path
    told = getattr(read_companions(path), part)
    return find_part(part, told.source, path) if told is not None else part_inside(path, part) or path


def part_inside(folder: Path, part: str) -> Path | None:
    """A companion in the folder of a model: ours, or as LatentSync's and ComfyUI's instructions lay it out."""
    return next((folder / name for name in PLACES[part] if (folder / name).exists()), None)


def named_parts(folder: Path) -> list[str]:
    """The parts of a model's folder that `fetch` has to get."""
    told = read_companions(folder)
    sources = [part.source for part in (told.autoencoder, told.audio_encoder) if part is not None]
    return [source for source in sources if source in NAMES and not (folder / source).exists()]
