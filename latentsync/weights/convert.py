"""`inspect`, `convert`, `export` and `merge`: what files are, and between published files and our folders.

Round trips are bit-exact.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from latentsync.errors import UserError
from latentsync.models.weight_files import (
    WEIGHTS_NAME,
    mismatch,
    readable,
    safetensors_metadata,
    save_folder,
    state_of,
)
from latentsync.weights.adapter import Weights, read
from latentsync.weights.bundle import companions_of, unet_in
from latentsync.weights.model_folder import complete_folder
from latentsync.weights.registry import find, published
from latentsync.weights.unet import Fit, UNetAdapter
from latentsync.work.files import folder_written_whole, written_whole


def inspect_weights(source: str | Path) -> list[str]:
    """Lines for people about a known name, a file or a folder. Raises UserError when it cannot be read."""
    path = unet_in(find(source))
    weights = read(path)
    types = Counter(str(value.dtype).removeprefix("torch.") for value in state_of(weights.content).values())
    entry = published(path)
    lines = [
        f"{path}: {weights.adapter.what}",
        *([f"  it is {entry.name}, by size and checksum: {entry.what}"] if entry is not None else []),
        f"  {len(weights.state)} tensors, {weights.parameters:,} numbers ({', '.join(sorted(types))})",
        *(f"  {note}" for note in weights.notes),
    ]
    told = {name: value for name, value in weights.told.items() if name in ("resolution", "num_frames")}
    if path.suffix == ".safetensors":
        told = {k: v for k, v in safetensors_metadata(path).items() if k not in ("format", "crc32", "what")}
    stated = ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)
    difference = differences(weights)
    return [
        *lines,
        *([f"  made for: {stated}"] if stated else []),
        *([] if difference is None else [f"  keys: {difference or 'all belong, none is missing'}"]),
    ]


def differences(weights: Weights) -> str | None:
    """Missing, unexpected and misshapen keys against the network built on the meta device; None = not compared."""
    if weights.adapter.class_name is None:
        return None
    with torch.device("meta"):
        network = weights.adapter.network(weights.config())
    return mismatch({key: tuple(value.shape) for key, value in network.state_dict().items()}, weights.state)


def convert(source: str | Path, target: Path, config: Mapping[str, Any] | None = None) -> str:
    """Write what `source` holds as a folder of ours at `target`; returns what was done, in one line.

    config: for networks that are not of a published layout (a SyncNet's encoders, a VideoMAE's sizes), published
    spelling. Raises UserError when the source is not a network of LatentSync, or the target is there already.
    """
    refuse_existing(target, "convert")
    weights = read(unet_in(find(source)))
    if weights.kind == "unet":
        return export(source, target)
    if weights.adapter.class_name is None:
        raise UserError(f"convert: '{source}' holds {weights.kind} weights: {weights.adapter.what}")
    network: Any = weights.adapter.load(weights, config)
    with folder_written_whole(target) as staged:
        network.save_pretrained(staged)
        readable(staged)
    return f"{target}: {weights.kind}, {weights.parameters:,} numbers"


def convert_into(source: Path, folder: Path) -> str:
    """The same into a folder that may hold other files (the source itself, as fetched); config.json is placed last."""
    staged = folder / ".converting"
    shutil.rmtree(staged, ignore_errors=True)
    done = convert(source, staged)
    for file in sorted(staged.iterdir(), key=lambda file: file.name == "config.json"):
        os.replace(file, folder / file.name)
    staged.rmdir()
    return done.replace(str(staged), str(folder))


def export(source: str | Path, target: Path, version: str | None = None, parts: str = "ours") -> str:
    """Write a U-Net or SyncNet as `target`: a published `.pt`, or else a folder of ours. Returns what was done.

    source: a known name, our folder, our Lightning `.ckpt`, or a published `.pt`. version: "1.0" for the names of that
    version's U-Net. A folder gets the parts that a U-Net's source names; parts: see `model_folder`. Raises UserError
    for anything else, and when the target is there already.
    """
    refuse_existing(target, "export")
    path = find(source)
    weights = read(unet_in(path))
    adapter, state, step = weights.adapter, weights.state, weights.global_step
    if target.suffix in (".pt", ".pth"):
        plain = {key: value.detach().cpu().contiguous() for key, value in state.items()}
        if isinstance(adapter, UNetAdapter):
            content = adapter.to_published(plain, step, version)
        else:
            content = adapter.to_published(plain, step)
        with written_whole(target) as staged:
            torch.save(content, staged)
        return f"{target}: published format, {len(state)} tensors, global_step {step}"
    if weights.kind not in ("unet", "stable-syncnet"):
        raise UserError(f"export: '{source}' holds {weights.kind} weights; only our U-Net and SyncNet are exported")
    config = {"_class_name": adapter.class_name, **weights.config(), "global_step": step}
    made_for = Fit.of(config).as_metadata() if weights.kind == "unet" else {}
    save_folder(state, config, target, {"network": weights.kind, **made_for})
    done = f"{target}: config.json and {WEIGHTS_NAME}, {len(state)} tensors"
    told = companions_of(path, weights) if weights.kind == "unet" else None
    if told is None or (told.autoencoder is None and told.audio_encoder is None):
        return done
    told = replace(told, resolution=told.resolution or config.get("resolution"))
    facts = {"steps trained": step, "exported from": Path(source).name}
    return f"{done}\n{complete_folder(target, told, path if path.is_dir() else None, parts, facts)}"


def merge_files(base: str | Path, adapter: Path, target: Path) -> str:
    """A U-Net with a LoRA adapter's weights added, as a folder; `base` is whatever holds a U-Net. Returns a line."""
    from latentsync.models.lora import load_adapter, merged
    from latentsync.weights.bundle import load_unet

    unet = load_unet(base)
    merged(load_adapter(unet, adapter)).save_pretrained(target)
    readable(target)
    return f"{target}: '{base}' with the adapter '{adapter}'"


def refuse_existing(target: Path, command: str) -> None:
    """Raise UserError when the target is there."""
    if target.exists():
        raise UserError(f"{command}: '{target}' is there already; choose another name or remove it")


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
