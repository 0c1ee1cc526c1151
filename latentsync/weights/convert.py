"""Published files into our folders: config.json and safetensors, as `from_pretrained` and `weights=` load them."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentsync.errors import UserError
from latentsync.weights.export import export
from latentsync.weights.identify import Identity, identify
from latentsync.weights.load import folder_weights, load_state
from latentsync.weights.parts import load_audio_encoder, load_autoencoder, load_syncnet, load_video_encoder
from latentsync.work.files import folder_written_whole

CONVERTIBLE = ("unet", "stable-syncnet", "whisper-openai", "whisper-transformers", "videomae-v2", "autoencoder")


def convert(source: Path, target: Path, config: Mapping[str, Any] | None = None) -> str:
    """Write what `source` holds as a folder of ours at `target`; returns what was done, in one line.

    config: for networks that are not of a published layout (a SyncNet's encoders, a VideoMAE's sizes), published
    spelling. Raises UserError when the source is not a network of LatentSync, or the target is there already.
    """
    if target.exists():
        raise UserError(f"convert: '{target}' is there already; choose another name or remove it")
    identity = recognise(source)
    if identity.kind in ("unet", "checkpoint"):
        return export(source, target)
    if identity.kind not in CONVERTIBLE:
        raise UserError(f"convert: '{source}' holds {identity.kind} weights; convertible are {', '.join(CONVERTIBLE)}")
    with folder_written_whole(target) as staged:
        part(identity.kind, source, config).save_pretrained(staged)
    return f"{target}: {identity.kind}, {identity.parameters:,} numbers"


def recognise(source: Path) -> Identity:
    """What a file or folder holds."""
    return identify(folder_weights(source) if source.is_dir() else load_state(source))


def part(kind: str, source: Path, config: Mapping[str, Any] | None) -> Any:
    """The network of one kind, loaded strictly; it has `save_pretrained`."""
    if kind == "stable-syncnet":
        return load_syncnet(source, config)
    if kind == "videomae-v2":
        return load_video_encoder(source, config)
    if kind == "autoencoder":
        return load_autoencoder(source).vae
    return load_audio_encoder(source)


def convert_into(source: Path, folder: Path) -> str:
    """The same into a folder that may hold other files (the source itself, as fetched); config.json is placed last."""
    staged = folder / ".converting"
    shutil.rmtree(staged, ignore_errors=True)
    done = convert(source, staged)
    for file in sorted(staged.iterdir(), key=lambda file: file.name == "config.json"):
        os.replace(file, folder / file.name)
    staged.rmdir()
    return done.replace(str(staged), str(folder))


def config_file(path: Path | None) -> dict[str, Any] | None:
    """The JSON table in a file, None for None. Raises UserError."""
    if path is None:
        return None
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--config '{path}': cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"--config '{path}': is not a table of settings")
    return content
