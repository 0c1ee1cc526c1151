"""Whisper's encoder out of a CTranslate2 `model.bin` (as faster-whisper reads it), into OpenAI's file format.

The format (CTranslate2's `model_spec.py`, binary version 6), little-endian: version u32, name of the specification,
its revision u32, number of variables u32; then each variable as name, rank u8, dimensions u32, type u8, bytes u32,
content. A name is its length u16 and that many bytes, the last of them 0. Nothing in it is code.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentsync.errors import UserError

VERSION, SPECIFICATION = 6, "WhisperSpec"
TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)  # by their number in the file
TOP = {
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "layer_norm/gamma": "ln_post.weight",
    "layer_norm/beta": "ln_post.bias",
    "position_encodings/encodings": "positional_embedding",
}
BLOCK = {
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


def read_whisper_encoder(path: Path) -> dict[str, Any]:
    """{"dims", "model_state_dict"} with the encoder's keys alone, in the file's own type (float16 in most).

    Raises UserError when the file is not a Whisper of this format, is cut short, or is stored in integers.
    """
    try:
        variables = dict(read_variables(path.read_bytes()))
        return openai_format(variables)
    except (struct.error, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a Whisper of CTranslate2's format, or damaged ({error})") from error


def read_variables(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Every variable of the file, in its order. Raises ValueError or struct.error on any other file."""
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", content, place)
        place += struct.calcsize(kind)
        return value

    def raw(length: int) -> bytes:
        nonlocal place
        place += length
        if place > len(content):
            raise ValueError("it ends early")
        return content[place - length : place]

    def name() -> str:
        return raw(number("H")).rstrip(b"\0").decode()

    if number("I") != VERSION or name() != SPECIFICATION:
        raise ValueError("another version or specification")
    number("I")  # the specification's revision
    for _ in range(number("I")):
        key = name()
        shape = [number("I") for _ in range(number("B"))]
        kind = TYPES[number("B")]
        yield key, np.frombuffer(raw(number("I")), kind).reshape(shape)


def openai_format(variables: dict[str, np.ndarray]) -> dict[str, Any]:
    """OpenAI's names; the fused q, k, v matrix (3D, D) is split, and the bias of k, which is 0, is dropped as there."""
    encoder = {key.removeprefix("encoder/"): value for key, value in variables.items() if key.startswith("encoder/")}
    layers = sum(key.endswith("/self_attention/linear_0/weight") for key in encoder)
    state = {new: to_tensor(encoder[old]) for old, new in TOP.items()}
    for layer in range(layers):
        state |= {f"blocks.{layer}.{new}": to_tensor(encoder[f"layer_{layer}/{old}"]) for old, new in BLOCK.items()}
        weights = to_tensor(encoder[f"layer_{layer}/self_attention/linear_0/weight"]).chunk(3)
        biases = to_tensor(encoder[f"layer_{layer}/self_attention/linear_0/bias"]).chunk(3)
        for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            state[f"blocks.{layer}.attn.{part}.weight"] = weight.clone()
            if part != "key":
                state[f"blocks.{layer}.attn.{part}.bias"] = bias.clone()
    width, mels, _ = state["conv1.weight"].shape
    dims = {
        "n_mels": mels,
        "n_audio_ctx": len(state["positional_embedding"]),
        "n_audio_state": width,
        "n_audio_head": int(encoder["num_heads"]),
        "n_audio_layer": layers,
    }
    return {"dims": dims, "model_state_dict": {f"encoder.{key}": value for key, value in state.items()}}


def to_tensor(array: np.ndarray) -> Tensor:
    """A copy as a tensor. Raises ValueError for integers: a quantised file lacks what a float one has."""
    if array.dtype.kind != "f":
        raise ValueError("its weights are quantised to integers")
    return torch.from_numpy(array.copy())
