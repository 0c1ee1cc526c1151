"""I3D (Carreira and Zisserman 2017), RGB, Kinetics-400: the network whose logits the FVD compares."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from latentsync.models.weight_files import load_strict
from latentsync.weights.adapter import load_file

CLASSES = 400
_EPSILON = 1e-3  # of batch normalisation, as trained
# Inception block: in, (1×1), (1×1 → 3×3), (1×1 → 3×3), (pool → 1×1).
_BLOCKS = {
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}
# pytorch-i3d's names of an inception block's parts.
_SHORT_NAMES = {
    "b0": "Branch_0.Conv3d_0a_1x1", "b1a": "Branch_1.Conv3d_0a_1x1", "b1b": "Branch_1.Conv3d_0b_3x3",
    "b2a": "Branch_2.Conv3d_0a_1x1", "b2b": "Branch_2.Conv3d_0b_3x3", "b3b": "Branch_3.Conv3d_0b_1x1",
}  # fmt: skip


class Unit(nn.Module):
    """Convolution, batch normalisation without scale, ReLU; the output's size is the input's over the stride."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(outputs, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(same_padding(x, self.conv.kernel_size, self.conv.stride))))


class Inception(nn.Module):
    """Four branches, concatenated."""

    def __init__(self, inputs: int, one: int, a: int, b: int, c: int, d: int, pooled: int) -> None:
        super().__init__()
        self.Branch_0 = nn.ModuleDict({"Conv3d_0a_1x1": Unit(inputs, one, 1)})
        self.Branch_1 = nn.ModuleDict({"Conv3d_0a_1x1": Unit(inputs, a, 1), "Conv3d_0b_3x3": Unit(a, b, 3)})
        self.Branch_2 = nn.ModuleDict({"Conv3d_0a_1x1": Unit(inputs, c, 1), "Conv3d_0b_3x3": Unit(c, d, 3)})
        self.Branch_3 = nn.ModuleDict({"Conv3d_0b_1x1": Unit(inputs, pooled, 1)})

    def forward(self, x: Tensor) -> Tensor:
        branches = [x, x, x, max_pool(x, (3, 3, 3), (1, 1, 1))]
        for index, parts in enumerate((self.Branch_0, self.Branch_1, self.Branch_2, self.Branch_3)):
            for part in parts.values():
                branches[index] = part(branches[index])
        return torch.cat(branches, dim=1)


class I3D(nn.Module):
    """Clips to class logits. Weights: see `load_i3d`."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        for name, sizes in _BLOCKS.items():
            self.add_module(name, Inception(*sizes))
        self.Logits = nn.ModuleDict({"Conv3d_0c_1x1": nn.ModuleDict({"conv": nn.Conv3d(1024, CLASSES, 1)})})

    def forward(self, clips: Tensor) -> Tensor:
        """clips (N, 3, F, 224, 224) in [-1, 1], F ≥ 9, to logits (N, 400), the mean over time."""
        x = max_pool(self.Conv3d_1a_7x7(clips), (1, 3, 3), (1, 2, 2))
        x = max_pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in _BLOCKS:
            if name == "Mixed_4b":
                x = max_pool(x, (3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                x = max_pool(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)
        return self.get_submodule("Logits.Conv3d_0c_1x1.conv")(x).flatten(2).mean(dim=2)


def same_padding(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], value: float = 0.0) -> Tensor:
    """Pad (…, T, H, W) as TensorFlow's "same" does: the odd element at the end."""
    padding: list[int] = []
    for size, width, step in zip(reversed(x.shape[-3:]), reversed(kernel), reversed(stride)):
        missing = max(0, (-(-size // step) - 1) * step + width - size)
        padding += [missing // 2, missing - missing // 2]
    return F.pad(x, padding, value=value)


def max_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """With "same" padding. What is pooled has gone through a ReLU, so zeros never win wrongly."""
    return F.max_pool3d(same_padding(x, kernel, stride), kernel, stride)


def load_i3d(path: str | Path, device: str = "cpu") -> I3D:
    """The network with weights from a file, in eval mode. Key names of this module, or of pytorch-i3d
    (`rgb_imagenet.pt`). Raises UserError where they do not fit."""
    state = own_names(load_file(path))
    network = I3D()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm3d):  # no scale was trained, and files differ in what they store for it
            state.setdefault(f"{name}.weight", torch.ones(module.num_features))
            state.setdefault(f"{name}.num_batches_tracked", torch.zeros((), dtype=torch.long))
    load_strict(
        network, {key: value.float() if value.is_floating_point() else value for key, value in state.items()}, str(path)
    )
    return network.to(device).eval().requires_grad_(False)


def own_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """pytorch-i3d's key names turned into this module's; others stay."""
    named = {}
    for key, value in state.items():
        parts = ["conv" if part == "conv3d" else _SHORT_NAMES.get(part, part) for part in key.split(".")]
        named[".".join(parts).replace("logits.", "Logits.Conv3d_0c_1x1.")] = value
    return named
