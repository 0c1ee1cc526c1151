"""What a U-Net goes with: the autoencoder and audio encoder it was trained with, and what else it takes for granted.

Kept beside the U-Net as `model.json`, in training checkpoints under "model", and read wherever a model is used:

    {"audio_encoder": {"source": "whisper-tiny.en", "fingerprint": "1f0c…"}, "autoencoder": {"source": "vae"},
     "resolution": 256, "num_frames": 16}

A part's source is a folder beside `model.json`, a name that `fetch` knows, or a path; "source" alone may stand in for
the table.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latentsync.errors import UserError
from latentsync.weights.registry import KNOWN, checkpoints_folder, known, place

MODEL_FILE = "model.json"
FOLDERS = {"autoencoder": "vae", "audio_encoder": "audio_encoder"}  # of each part, inside a model's folder


@dataclass(frozen=True)
class Part:
    """One companion. source: see the module; fingerprint: of its weights, see `fingerprint`; None = not told."""

    source: str
    fingerprint: str | None = None


@dataclass(frozen=True)
class Companions:
    """None = not told. resolution: pixels; num_frames: in a window; schedule: arguments of `NoiseSchedule`;
    alignment, mask: names of the way faces are aligned and of the region that is generated."""

    autoencoder: Part | None = None
    audio_encoder: Part | None = None
    resolution: int | None = None
    num_frames: int | None = None
    alignment: str | None = None
    mask: str | None = None
    schedule: dict[str, Any] | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any], where: str) -> "Companions":
        """From what `model.json` or a checkpoint says; keys of later versions are passed over. Raises UserError."""
        try:
            parts: dict[str, Any] = {name: _part(told[name]) for name in FOLDERS if told.get(name) is not None}
            rest = {name: told[name] for name in cls.__dataclass_fields__ if name in told and name not in FOLDERS}
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


def fingerprint(network: nn.Module) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of names, shapes and numbers (as float32) of a network.

    The same weights give the same, whatever file, type or device they came in.
    """
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()[:16]


def find_part(part: str, source: str | Path, beside: Path | None = None) -> Path:
    """Where a companion is.

    part: "autoencoder" or "audio_encoder"; source: a folder in `beside`, a known name, a model ("demo", or its folder),
    whose own part is taken, or a path. Raises UserError that says what is missing and how to get it.
    """
    name = str(source)
    if beside is not None and (beside / name).exists():
        return beside / name
    if name in {entry.name for entry in KNOWN}:
        return fetched(name)
    path = checkpoints_folder() / "demo" if name == "demo" else Path(source)
    if not path.exists():
        raise UserError(f"{part} '{name}': no such file or folder, and no name that `fetch` knows")
    told = getattr(read_companions(path), part) if path.is_dir() else None
    if told is not None:
        return find_part(part, told.source, path)
    inside = path / FOLDERS[part]
    return inside if inside.is_dir() else path


def fetched(name: str) -> Path:
    """The folder (or file) that `fetch` made of a known name. Raises UserError when it is not there."""
    entry = known(name)
    file = place(entry.files[0])
    if not file.exists() and not (entry.folder and (checkpoints_folder() / entry.folder / "config.json").is_file()):
        raise UserError(f"'{name}': {file} is not there; run `python -m latentsync.weights fetch {name}`")
    return file.parent if entry.folder or file.name == "config.json" else file


def named_parts(folder: Path) -> list[str]:
    """The parts of a model's folder that `fetch` has to get."""
    told = read_companions(folder)
    sources = [part.source for part in (told.autoencoder, told.audio_encoder) if part is not None]
    names = {entry.name for entry in KNOWN}
    return [source for source in sources if source in names and not (folder / source).exists()]
