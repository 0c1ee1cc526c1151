"""Files of a network: read safely (no file runs code), loaded strictly (every missing, unexpected or misshapen key is
named), written with a checksum."""

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.truncation import cut_short
from latentsync.work.files import write_whole, written_whole

NAMED = 3  # so many keys of each kind are named in a message; the rest are counted
CHECKSUM = "crc32"  # metadata key: the checksum of all tensors, written by `save_safetensors`
WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"  # as diffusers names it, so that from_pretrained finds it


def load_state(path: Path | str) -> dict[str, Any]:
    """The content of a weights file, on the CPU: safetensors, or what `torch.load(weights_only=True)` accepts.

    Returns the file's own nesting; `state_of` finds the key → tensor table in it. Raises UserError in one line on an
    absent, truncated or damaged file, and on one that holds more than tensors and plain data (which could run code).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"weights '{path}': no such file")
    check_length(path)
    if path.suffix == ".safetensors":
        return dict(load_safetensors(path))
    if zipfile.is_zipfile(path):
        check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise UserError(refusal(path, error)) from error
    if not isinstance(content, Mapping):
        raise UserError(f"weights '{path}': holds a {type(content).__name__}, not a table of tensors")
    return dict(content)


def check_length(path: Path) -> None:
    """Raise UserError with the bytes that are there, and those that should be, for a file that ends early."""
    missing = cut_short(path)
    if missing is not None:
        raise UserError(f"weights '{path}': truncated: {missing}; fetch or copy it again")


def refusal(path: Path, error: Exception) -> str:
    """One line on why torch would not read a file: objects in it, or damage."""
    found = re.search(r"GLOBAL (\S+)", str(error))
    if found:
        return (
            f"weights '{path}': refused, nothing was run: it holds Python objects ({found[1]}), which can run code; "
            "ask its author for plain tensors or safetensors"
        )
    return f"weights '{path}': damaged, truncated or not a PyTorch file; fetch or copy it again"


def check_archive(path: Path) -> None:
    """Every member of a PyTorch zip against its CRC-32, which torch itself does not look at."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"weights '{path}': damaged or truncated; fetch or copy it again") from error
    if damaged is not None:
        raise UserError(f"weights '{path}': damaged (checksum of '{damaged}' is wrong); fetch or copy it again")


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, checked against the checksum in its metadata when it has one."""
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"weights '{path}': damaged, truncated or not safetensors; fetch or copy it again") from error
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum(state):
        raise UserError(f"weights '{path}': damaged (the checksum of its tensors is wrong); fetch or copy it again")
    return state


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, without reading its tensors."""
    check_length(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"weights '{path}': damaged, truncated or not safetensors; fetch or copy it again") from error


def checksum(state: Mapping[str, Tensor]) -> str:
    """CRC-32 of all tensors' bytes in the order of their names, as eight hexadecimal digits."""
    value = 0
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def state_of(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The key → tensor table of a loaded file, whichever published nesting it has.

    Known: `state_dict` (LatentSync, Lightning, AnimateDiff), `model_state_dict` (Whisper), `model`, `module`
    (VideoMAE), or none. A leading `module.` of data-parallel training is taken off. Raises UserError without tensors.
    """
    for holder in ("state_dict", "model_state_dict", "model", "module"):
        if isinstance(content.get(holder), Mapping):
            content = content[holder]
            break
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise UserError(f"no tensors found; the file's entries are {', '.join(map(str, list(content)[:8])) or 'none'}")
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


def load_strict(module: nn.Module, state: Mapping[str, Tensor], what: str, assign: bool = False) -> None:
    """Load `state` into `module`: every key used, none missing, shapes equal.

    what: the file or part, for the message; assign: take the tensors themselves (for modules on the meta device).
    Raises UserError that names the first few missing, unexpected and misshapen keys and counts them all.
    """
    complaint = mismatch({key: tuple(value.shape) for key, value in module.state_dict().items()}, state)
    if complaint:
        raise UserError(f"{what}: does not fit {type(module).__name__}: {complaint}")
    module.load_state_dict(dict(state), strict=True, assign=assign)


def mismatch(expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> str:
    """What differs between a key → shape table and a state dict, in words; empty when nothing does."""
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    misshapen = [
        f"{key} {list(state[key].shape)} instead of {list(shape)}"
        for key, shape in expected.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    parts = [
        f"{len(keys)} {kind} ({named(keys)})"
        for kind, keys in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        if keys
    ]
    return "; ".join(parts)


def named(keys: Iterable[str]) -> str:
    """The first few keys, and an ellipsis when there are more."""
    keys = list(keys)
    return ", ".join(keys[:NAMED]) + (", …" if len(keys) > NAMED else "")


def folder_weights(folder: Path) -> dict[str, Tensor]:
    """The state dict of a diffusers or transformers folder: *.safetensors, else *.bin, whole or in numbered shards."""
    for pattern in ("*.safetensors", "*.bin"):
        index = sorted(folder.glob(f"{pattern}.index.json"))
        files = sorted(folder.glob(pattern))
        if index:
            names = sorted(set(json.loads(index[0].read_text())["weight_map"].values()))
            outside = [name for name in names if Path(name).name != name]
            if outside:
                raise UserError(f"{index[0]}: '{outside[0]}' points out of the folder; refused")
            files = [folder / name for name in names]
        if files:
            chosen = files if index else [preferred(files)]
            return {key: value for file in chosen for key, value in state_of(load_state(file)).items()}
    raise UserError(f"weights '{folder}': no *.safetensors or *.bin in it; fetch or copy it again")


def preferred(files: list[Path]) -> Path:
    """Of several whole files (full, fp16, EMA …) the one with the plain name: the shortest."""
    return min(files, key=lambda file: (len(file.name), file.name))


def folder_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder. Raises UserError when absent or not JSON."""
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"weights '{folder}': no config.json in it; copy the whole folder")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from error


def save_safetensors(state: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """A safetensors file with `metadata` and a checksum of all tensors, which `load_state` compares."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    told = {"format": "pt", **metadata, CHECKSUM: checksum(tensors)}
    with written_whole(path) as staged:
        safetensors.torch.save_file(tensors, staged, told)
        readable(staged)


def save_folder(
    state: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, metadata: Mapping[str, str]
) -> None:
    """`config.json` and safetensors, the layout of diffusers' `save_pretrained`."""
    save_safetensors(state, folder / WEIGHTS_NAME, metadata)
    write_whole(folder / "config.json", json.dumps(dict(config), indent=2, sort_keys=True) + "\n")


def readable(path: Path) -> None:
    """Give a file, or the files of a folder, the umask's mode; safetensors makes files for their owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    for file in path.iterdir() if path.is_dir() else [path]:
        if file.is_file():
            file.chmod(0o666 & ~umask)


def fingerprint(network: nn.Module) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of names, shapes and numbers (as float32) of a network.

    The same weights give the same, whatever file, type or device they came in.
    """
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()[:16]
