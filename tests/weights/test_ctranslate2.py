"""Whisper's encoder out of CTranslate2's format: the real member has OpenAI's numbers; other files are refused."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import UserError
from latentsync.weights.ctranslate2 import BLOCK, TOP, read_whisper_encoder
from latentsync.weights.load import load_state
from latentsync.weights.registry import known, place
from latentsync.weights.whisper_openai import openai_to_transformers

WIDTH, MELS, POSITIONS = 4, 3, 6


def variables(dtype: type = np.float16) -> dict[str, np.ndarray]:
    """A Whisper of one block, its numbers drawn at random."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {f"encoder/{name}": (WIDTH,) for name in TOP}
    shapes |= {"encoder/conv1/weight": (WIDTH, MELS, 3), "encoder/conv2/weight": (WIDTH, WIDTH, 3)}
    shapes["encoder/position_encodings/encodings"] = (POSITIONS, WIDTH)
    for name in BLOCK:
        wide = WIDTH if "linear_1" in name and "ffn" in name else 4 * WIDTH if "ffn/linear_0" in name else WIDTH
        shapes[f"encoder/layer_0/{name}"] = (wide, 4 * WIDTH) if name.endswith("weight") else (wide,)
    shapes["encoder/layer_0/self_attention/linear_0/weight"] = (3 * WIDTH, WIDTH)
    shapes["encoder/layer_0/self_attention/linear_0/bias"] = (3 * WIDTH,)
    out = {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}
    return {**out, "encoder/num_heads": np.int16(2), "decoder/conv1/weight": np.zeros(2, np.float32)}


def written(path: Path, content: dict[str, np.ndarray]) -> Path:
    """The file, byte by byte as CTranslate2 lays it out."""
    types = [np.dtype(kind) for kind in ("f4", "i1", "i2", "i4", "f2")]
    text = lambda name: struct.pack("<H", len(name) + 1) + name.encode() + b"\0"  # noqa: E731
    parts = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<II", 3, len(content))]
    for name, value in content.items():
        value = np.asarray(value)
        head = struct.pack(f"<B{value.ndim}IBI", value.ndim, *value.shape, types.index(value.dtype), value.nbytes)
        parts += [text(name), head, value.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def test_fused_attention_is_split_and_sizes_are_told(tmp_path: Path) -> None:
    content = variables()
    read = read_whisper_encoder(written(tmp_path / "model.bin", content))
    assert read["dims"] == {
        "n_mels": MELS, "n_audio_ctx": POSITIONS, "n_audio_state": WIDTH, "n_audio_head": 2, "n_audio_layer": 1
    }  # fmt: skip
    fused = torch.from_numpy(content["encoder/layer_0/self_attention/linear_0/weight"])
    state = read["model_state_dict"]
    assert torch.equal(state["encoder.blocks.0.attn.key.weight"], fused[WIDTH : 2 * WIDTH])
    assert "encoder.blocks.0.attn.key.bias" not in state
    assert not any("decoder" in key for key in state)
    openai_to_transformers(read)  # every name is one of OpenAI's


def test_other_and_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path / "model.bin", variables())
    content = path.read_bytes()
    for damaged in (content[:-9], b"\x05" + content[1:], b"PK" * 50, b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="CTranslate2"):
            read_whisper_encoder(path)
    with pytest.raises(UserError, match="quantised"):
        read_whisper_encoder(written(path, variables(np.int8)))


def test_fetched_encoder_has_openais_numbers(shared: Path) -> None:
    path = place(known("whisper-tiny.en").files[0])
    if not path.exists():
        pytest.skip("needs `python -m latentsync.weights fetch whisper-tiny.en`")
    ours = load_state(path)["model_state_dict"]
    theirs = load_state(shared / "assets" / "weights" / "tiny.en.encoder_fp16.pt")["model_state_dict"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
