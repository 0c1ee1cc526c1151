"""The frozen networks as shapes: what loads a file in training is replaced by what builds the same network anew.

A folder that is there gives its own config.json; of one that is not, the published network is taken.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lpips
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEModel

from latentsync.losses.perceptual import PerceptualLoss
from latentsync.losses.sync import SyncLoss
from latentsync.losses.trepa import TrepaLoss
from latentsync.models.autoencoder import STABLE_DIFFUSION, FrameAutoencoder
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.video_encoder import VideoEncoder
from latentsync.weights.videomae import GIANT, videomae_config

STABLE_SYNCNET: dict[str, Any] = {
    "audio_encoder": {
        "in_channels": 1,
        "block_out_channels": [32, 64, 128, 256, 512, 1024, 2048],
        "downsample_factors": [[2, 1], 2, 2, 1, 2, 2, [2, 3]],
        "attn_blocks": [0, 0, 0, 1, 1, 0, 0],
        "dropout": 0.0,
    },
    "visual_encoder": {
        "in_channels": 48,
        "block_out_channels": [64, 128, 256, 256, 512, 1024, 2048, 2048],
        "downsample_factors": [[1, 2], 2, 2, 2, 2, 2, 2, 2],
        "attn_blocks": [0, 0, 0, 0, 1, 1, 0, 0],
        "dropout": 0.0,
    },
    "resolution": 256,
    "lower_half": True,
}
HERE = __name__
REPLACEMENTS = {
    "latentsync.models.autoencoder.FrameAutoencoder.from_pretrained": f"{HERE}.autoencoder",
    "latentsync.losses.trepa.TrepaLoss.from_pretrained": f"{HERE}.trepa_loss",
    "latentsync.losses.sync.SyncLoss.from_pretrained": f"{HERE}.sync_loss",
    "latentsync.losses.perceptual.PerceptualLoss": f"{HERE}.perceptual_loss",
}


def without_files(node: Any) -> Any:
    """A configuration of a model (plain lists and dicts) in which nothing is read from files of weights."""
    if isinstance(node, Mapping):
        made = {key: without_files(value) for key, value in node.items()}
        if made.get("_target_") in REPLACEMENTS:
            made["_target_"] = REPLACEMENTS[made["_target_"]]
        elif "_target_" in made and "weights" in made:
            made["weights"] = None
        return made
    return [without_files(value) for value in node] if isinstance(node, list) else node


def folder_or(path: str | Path, published: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json of the folder, without diffusers' own notes, or `published` if there is no folder."""
    file = Path(path) / "config.json"
    config = json.loads(file.read_text()) if file.is_file() else dict(published)
    return {name: value for name, value in config.items() if not name.startswith("_")}


def autoencoder(path: str, frames_per_batch: int = 16) -> FrameAutoencoder:
    """The VAE's shapes."""
    return FrameAutoencoder(AutoencoderKL.from_config(folder_or(path, STABLE_DIFFUSION)), frames_per_batch)


def trepa_loss(path: str) -> TrepaLoss:
    """The video encoder's shapes."""
    config = VideoMAEConfig(**folder_or(path, {})) if (Path(path) / "config.json").is_file() else videomae_config(GIANT)
    return TrepaLoss(VideoEncoder(VideoMAEModel(config), nn.LayerNorm(config.hidden_size)))


def sync_loss(path: str) -> SyncLoss:
    """SyncNet's shapes."""
    return SyncLoss(StableSyncNet(**folder_or(path, STABLE_SYNCNET)))


class UntrainedPerceptualLoss(PerceptualLoss):
    """LPIPS with random weights."""

    def __init__(self, net: str) -> None:
        nn.Module.__init__(self)
        self.gradient_checkpointing = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as for `PerceptualLoss`
            self.lpips = (
                lpips.LPIPS(net=net, pretrained=False, pnet_rand=True, verbose=False).eval().requires_grad_(False)
            )


def perceptual_loss(net: str = "vgg", weights_path: str = "") -> PerceptualLoss:
    """LPIPS' shapes, whatever `weights_path`."""
    return UntrainedPerceptualLoss(net)


def size_of(network: nn.Module) -> tuple[int, int, int]:
    """Parameters, trainable ones among them, and the bytes of parameters and buffers."""
    parameters = list(network.parameters())
    tensors: list[Tensor] = [*parameters, *network.buffers()]
    return (
        sum(parameter.numel() for parameter in parameters),
        sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    )
