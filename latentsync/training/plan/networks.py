"""The frozen networks as shapes: what loads a file in training is replaced by what builds the same network anew.

A folder that is there gives its own config.json; of one that is not, the published network is taken.
"""

import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from torch import Tensor, nn

from latentsync.models.autoencoder import STABLE_DIFFUSION, FrameAutoencoder


def without_files(node: Any) -> Any:
    """A configuration of a model (plain lists and dicts) in which nothing is read from files of weights."""
    if isinstance(node, list):
        return [without_files(value) for value in node]
    if not isinstance(node, Mapping):
        return node
    made = {key: without_files(value) for key, value in node.items()}
    if "_target_" in made:
        made["_target_"] = untrained(made["_target_"])
        if "weights" in made:
            made["weights"] = None
    return made


def untrained(target: str) -> str:
    """The name of what builds the same as `target` (a class, or a classmethod of it) without weights."""
    if target == "latentsync.models.autoencoder.FrameAutoencoder.from_pretrained":
        return f"{__name__}.autoencoder"
    built = pkgutil.resolve_name(target)
    owner = getattr(built, "__self__", built)
    return f"{owner.__module__}.{owner.__qualname__}.untrained" if hasattr(owner, "untrained") else target


def autoencoder(path: str, frames_per_batch: int = 16) -> FrameAutoencoder:
    """The shapes of the VAE in the folder `path`, or of Stable Diffusion's if there is no folder."""
    there = (Path(path) / "config.json").is_file()
    config = AutoencoderKL.load_config(path) if there else STABLE_DIFFUSION
    return FrameAutoencoder(AutoencoderKL.from_config(config), frames_per_batch)


def size_of(network: nn.Module) -> tuple[int, int, int]:
    """Parameters, trainable ones among them, and the bytes of parameters and buffers."""
    parameters = list(network.parameters())
    tensors: list[Tensor] = [*parameters, *network.buffers()]
    return (
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    )
