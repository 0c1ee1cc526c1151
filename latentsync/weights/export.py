"""Our networks out: published-format `.pt`, or a folder of safetensors and config.json. Round trips are bit-exact."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from latentsync.errors import UserError
from latentsync.weights.guard import Fit
from latentsync.weights.identify import identify
from latentsync.weights.layout import syncnet_config, unet_config
from latentsync.weights.load import CHECKSUM, checksum, folder_config, folder_weights, load_state
from latentsync.work.files import write_whole, written_whole

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"  # as diffusers names it, so that from_pretrained finds it
CLASSES = {"unet": "UNet3DConditionModel", "stable-syncnet": "StableSyncNet"}


def save_safetensors(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """A safetensors file with `metadata` and a checksum of all tensors, which `load_state` compares."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    told = {"format": "pt", **metadata, CHECKSUM: checksum(tensors)}
    with written_whole(path) as staged:
        safetensors.torch.save_file(tensors, staged, told)
        os.chmod(staged, 0o666 & ~current_umask())


def current_umask() -> int:
    """The process's umask; safetensors creates files that only their owner can read."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save_folder(
    state: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, metadata: Mapping[str, str]
) -> None:
    """`config.json` and safetensors, the layout of diffusers' `save_pretrained`."""
    save_safetensors(state, folder / WEIGHTS_NAME, metadata)
    write_whole(folder / "config.json", json.dumps(dict(config), indent=2, sort_keys=True) + "\n")


def save_published(state: Mapping[str, Tensor], path: Path, global_step: int = 0, syncnet: bool = False) -> None:
    """The published file: {"state_dict", "global_step"}, and for a SyncNet the (empty) loss lists beside them."""
    content: dict[str, Any] = {
        "global_step": global_step,
        "state_dict": {key: value.detach().cpu().contiguous() for key, value in state.items()},
    }
    if syncnet:
        content.update({name: [] for name in SYNCNET_LISTS})
    with written_whole(path) as staged:
        torch.save(content, staged)


SYNCNET_LISTS = ("train_step_list", "train_loss_list", "val_step_list", "val_loss_list")


def export(source: Path, target: Path) -> str:
    """Write a trained U-Net or SyncNet as `target`: a published `.pt`, or else a folder of ours. Returns what was done.

    source: our folder (of the part itself), our Lightning `.ckpt`, or a published `.pt`. Raises UserError for anything
    else, and when the target is there already.
    """
    if target.exists():
        raise UserError(f"export: '{target}' is there already; choose another name or remove it")
    state, config, kind, step = part_to_export(source)
    if target.suffix in (".pt", ".pth"):
        save_published(state, target, step, syncnet=kind == "stable-syncnet")
        return f"{target}: published format, {len(state)} tensors, global_step {step}"
    save_folder(state, config, target, folder_metadata(kind, config))
    return f"{target}: config.json and {WEIGHTS_NAME}, {len(state)} tensors"


def part_to_export(source: Path) -> tuple[dict[str, Tensor], dict[str, Any], str, int]:
    """(state, configuration, kind, step) of what `source` holds. Raises UserError when it is no U-Net or SyncNet."""
    if source.is_dir():
        state, config = folder_weights(source), folder_config(source)
        kind = identify(state).kind
        step = int(config.get("global_step", 0))
    else:
        content = load_state(source)
        identity = identify(content)
        state, kind = identity.state, "unet" if identity.kind == "checkpoint" else identity.kind
        step = int(content.get("global_step", 0))
        config = {**config_of(kind, state), **dict(content.get("unet_config") or {})}
    if kind not in CLASSES:
        raise UserError(f"export: '{source}' holds {kind} weights; only our U-Net and SyncNet have a published format")
    return state, {"_class_name": CLASSES[kind], **config, "global_step": step}, kind, step


def config_of(kind: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The configuration that the shapes tell."""
    if kind == "unet":
        return unet_config(state)
    return syncnet_config(state) if kind == "stable-syncnet" else {}


def folder_metadata(kind: str, config: Mapping[str, Any]) -> dict[str, str]:
    """What the safetensors header says of the network."""
    return {"network": kind, **(Fit.of(config).as_metadata() if kind == "unet" else {})}


def export_module(module: Any, target: Path, global_step: int = 0) -> str:
    """The same for a network in memory (our U-Net or StableSyncNet, with its `config`)."""
    state = module.state_dict()
    kind = identify(state).kind
    if kind not in CLASSES:
        raise UserError(f"export: {type(module).__name__} has no published format")
    if target.suffix in (".pt", ".pth"):
        save_published(state, target, global_step, syncnet=kind == "stable-syncnet")
        return f"{target}: published format, {len(state)} tensors"
    config: dict[str, Any] = {**dict(module.config), "_class_name": CLASSES[kind], "global_step": global_step}
    save_folder(state, config, target, folder_metadata(kind, config))
    return f"{target}: config.json and {WEIGHTS_NAME}, {len(state)} tensors"
