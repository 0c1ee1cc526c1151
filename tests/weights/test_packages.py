"""Weights out of packages: read as data, equal to the original numbers; anything else in such a file is refused."""

import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import UserError
from latentsync.models.weight_files import load_state
from latentsync.weights.packages import (
    BACKBONES,
    CT2_BLOCK,
    CT2_TOP,
    backbone_features,
    inception_state,
    read_arrays,
    read_scripted,
    read_whisper,
)
from latentsync.weights.registry import known, place
from latentsync.weights.whisper import OpenAIWhisper

WIDTH, MELS, POSITIONS = 4, 3, 6


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", ">f4"])
def test_arrays_equal_what_was_pickled(dtype: str, tmp_path: Path) -> None:
    tree = {
        "net": {"kernel": np.arange(24, dtype=dtype).reshape(2, 3, 4), "bias": np.ones(300, dtype)},
        "columns": np.asfortranarray(np.arange(6, dtype=dtype).reshape(2, 3)),
    }
    path = tmp_path / "arrays.ckpt"
    path.write_bytes(pickle.dumps(tree, protocol=3))
    read = read_arrays(path)
    np.testing.assert_array_equal(read["net"]["kernel"], tree["net"]["kernel"])
    np.testing.assert_array_equal(read["net"]["bias"], tree["net"]["bias"])
    np.testing.assert_array_equal(read["columns"], tree["columns"])


class Run:
    """Unpickled by Python, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return (os.mkdir, (self.path,))


def test_code_objects_and_damage_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    path, trace = tmp_path / "arrays.ckpt", tmp_path / "executed"
    whole = pickle.dumps({"a": np.ones(500)}, protocol=3)
    hostile = [
        pickle.dumps({"a": np.ones(3), "b": Run(trace)}, protocol=3),
        pickle.dumps({"a": np.array([Run(trace)], dtype=object)}, protocol=3),
        pickle.dumps({"a": 3}, protocol=3),
        whole[: len(whole) // 2],
        b"",
        b"no pickle at all",
    ]
    for content in hostile:
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"arrays\.ckpt"):
            read_arrays(path)
    assert not trace.exists()


def test_convolutions_are_transposed_and_named_as_torchvision_does(tmp_path: Path) -> None:
    kernels = [np.random.default_rng(i).random((3, 5, 2, 4), dtype=np.float32) for i in range(5)]  # (H, W, I, O)
    tree = {f"Conv_{i}": {"kernel": kernel, "bias": np.full(4, i, np.float32)} for i, kernel in enumerate(kernels)}
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps({"AlexNet_0": tree}, protocol=3))
    state = backbone_features(path, "alexnet")
    assert set(state) == {f"features.{n}.{kind}" for n in BACKBONES["alexnet"][1] for kind in ("weight", "bias")}
    assert state["features.3.weight"].shape == (4, 2, 3, 5)
    assert state["features.3.weight"][1, 0, 2, 4] == kernels[1][2, 4, 0, 1]
    with pytest.raises(UserError, match="VGG16_0"):
        backbone_features(path, "vgg16")


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
def test_fetched_backbone_equals_torchvisions(name: str, shared: Path) -> None:
    path = place(known(f"lpips-{name}").files[0])
    if not path.exists():
        pytest.skip(f"needs `python -m latentsync.weights fetch lpips-{name}`")
    ours = load_state(path)
    theirs = load_state(shared / "assets" / "weights" / f"{name}_features_fp16.pth")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key].half(), value) for key, value in theirs.items())


def variables(dtype: type = np.float16) -> dict[str, np.ndarray]:
    """A Whisper of one block, its numbers drawn at random."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {f"encoder/{name}": (WIDTH,) for name in CT2_TOP}
    shapes |= {"encoder/conv1/weight": (WIDTH, MELS, 3), "encoder/conv2/weight": (WIDTH, WIDTH, 3)}
    shapes["encoder/position_encodings/encodings"] = (POSITIONS, WIDTH)
    for name in CT2_BLOCK:
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
    read = read_whisper(written(tmp_path / "model.bin", content))
    assert read["dims"] == {
        "n_mels": MELS, "n_audio_ctx": POSITIONS, "n_audio_state": WIDTH, "n_audio_head": 2, "n_audio_layer": 1
    }  # fmt: skip
    fused = torch.from_numpy(content["encoder/layer_0/self_attention/linear_0/weight"])
    state = read["model_state_dict"]
    assert torch.equal(state["encoder.blocks.0.attn.key.weight"], fused[WIDTH : 2 * WIDTH])
    assert "encoder.blocks.0.attn.key.bias" not in state
    assert not any("decoder" in key for key in state)
    OpenAIWhisper().from_published(read)  # every name is one of OpenAI's


def test_other_and_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path / "model.bin", variables())
    content = path.read_bytes()
    for damaged in (content[:-9], b"\x05" + content[1:], b"PK" * 50, b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="CTranslate2"):
            read_whisper(path)
    with pytest.raises(UserError, match="quantised"):
        read_whisper(written(path, variables(np.int8)))


def test_fetched_encoder_has_openais_numbers(shared: Path) -> None:
    path = place(known("whisper-tiny.en").files[0])
    if not path.exists():
        pytest.skip("needs `python -m latentsync.weights fetch whisper-tiny.en`")
    ours = load_state(path)["model_state_dict"]
    theirs = load_state(shared / "assets" / "weights" / "tiny.en.encoder_fp16.pt")["model_state_dict"]
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


class Twice(torch.nn.Module):
    """Two convolutions in TensorFlow's manner of naming."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.tower = torch.nn.Sequential(torch.nn.Conv2d(4, 2, 1, bias=False))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.tower(self.conv(inputs))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_tensors_of_a_scripted_network_are_read_without_its_code(tmp_path: Path) -> None:
    network = Twice()
    torch.jit.script(network).save(str(tmp_path / "net.pt"))
    read = read_scripted(tmp_path / "net.pt")
    assert list(read) == list(network.state_dict())
    assert all(torch.equal(read[key], value) for key, value in network.state_dict().items())
    (tmp_path / "other.pt").write_bytes(b"PK")
    with pytest.raises(UserError, match="TorchScript"):
        read_scripted(tmp_path / "other.pt")


def test_inceptions_convolutions_take_torch_fidelitys_names() -> None:
    parts = ("weight", "beta", "mean", "var")
    tensors = {f"net.layers.{number}.{part}": torch.full((2,), number) for number in range(94) for part in parts}
    state = inception_state(tensors)
    assert state["Conv2d_1a_3x3.conv.weight"][0] == 0
    assert state["Mixed_7c.branch_pool.bn.running_var"][0] == 93
    assert state["Mixed_5b.branch_pool.bn.bias"][0] == 11
    assert torch.equal(state["Mixed_7c.branch_pool.bn.weight"], torch.ones(2))
