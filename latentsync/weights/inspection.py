"""What `inspect` tells of a weights file: network, parameters, the experiment it fits, and keys that do not belong."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from latentsync.errors import UserError
from latentsync.weights.identify import identify
from latentsync.weights.layout import syncnet_config, unet_config
from latentsync.weights.load import folder_config, folder_weights, load_state, mismatch, safetensors_metadata
from latentsync.weights.parts import modern_attention
from latentsync.weights.whisper_openai import openai_to_transformers

DESCRIPTIONS = {
    "unet": "LatentSync U-Net",
    "checkpoint": "training checkpoint",
    "sd-unet": "Stable Diffusion U-Net",
    "stable-syncnet": "StableSyncNet",
    "whisper-openai": "Whisper, OpenAI's format",
    "whisper-transformers": "Whisper, transformers' format",
    "videomae-v2": "VideoMAE v2, published format",
    "videomae-transformers": "VideoMAE, transformers' format",
    "syncnet-v2": "SyncNet v2 (evaluation)",
    "autoencoder": "Stable Diffusion autoencoder",
    "motion-modules": "AnimateDiff motion modules: an initialisation for the temporal layers",
    "lpips-backbone": "LPIPS backbone (convolutions)",
    "unknown": "not a network that LatentSync uses",
}


def inspect_weights(path: Path) -> list[str]:
    """Lines for people about a file or folder. Raises UserError when it cannot be read."""
    if not path.exists():
        raise UserError(f"weights '{path}': no such file or folder")
    content: Mapping[str, Any] = folder_weights(path) if path.is_dir() else load_state(path)
    identity = identify(content)
    types = Counter(str(value.dtype).removeprefix("torch.") for value in identity.state.values())
    lines = [
        f"{path}: {DESCRIPTIONS[identity.kind]}",
        f"  {len(identity.state)} tensors, {identity.parameters:,} numbers ({', '.join(sorted(types))})",
        *(f"  {note}" for note in identity.notes),
    ]
    lines += [f"  made for: {told}" for told in [stated(path)] if told]
    difference = differences(identity.kind, identity.state, content, path)
    if difference is not None:
        lines.append(f"  keys: {difference or 'all belong, none is missing'}")
    return lines


def stated(path: Path) -> str:
    """What our own metadata says of the weights; empty for published files."""
    told: dict[str, Any] = {}
    if path.is_dir() and (path / "config.json").is_file():
        told = {k: v for k, v in folder_config(path).items() if k in ("resolution", "num_frames")}
    elif path.suffix == ".safetensors":
        told = {k: v for k, v in safetensors_metadata(path).items() if k not in ("format", "crc32", "what")}
    return ", ".join(f"{name} {value}" for name, value in told.items() if value is not None)


def differences(kind: str, state: Mapping[str, Tensor], content: Mapping[str, Any], path: Path) -> str | None:
    """Missing, unexpected and misshapen keys against the network built on the meta device; None = not compared."""
    expected: Callable[[], tuple[nn.Module, Mapping[str, Tensor]]] | None = {
        "unet": lambda: (unet(state), state),
        "checkpoint": lambda: (unet(state), state),
        "stable-syncnet": lambda: (syncnet(state), state),
        "whisper-openai": lambda: whisper(content),
        "autoencoder": lambda: autoencoder(state, path),
    }.get(kind)
    if expected is None or (kind == "checkpoint" and "conv_in.weight" not in state):
        return None
    with torch.device("meta"):
        network, given = expected()
    return mismatch({key: tuple(value.shape) for key, value in network.state_dict().items()}, given)


def unet(state: Mapping[str, Tensor]) -> nn.Module:
    """The U-Net that these shapes tell of."""
    from latentsync.models.unet import UNet3DConditionModel

    return UNet3DConditionModel(**unet_config(state))


def syncnet(state: Mapping[str, Tensor]) -> nn.Module:
    """The SyncNet that these shapes tell of."""
    from latentsync.models.syncnet import StableSyncNet

    return StableSyncNet(**syncnet_config(state))


def whisper(content: Mapping[str, Any]) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """Whisper's encoder and the file's encoder keys."""
    config, state = openai_to_transformers(content)
    return WhisperEncoder(config), state


def autoencoder(state: Mapping[str, Tensor], path: Path) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """The autoencoder of the folder's configuration, or Stable Diffusion's for a single file."""
    config = folder_config(path) if path.is_dir() else STABLE_DIFFUSION_VAE
    return AutoencoderKL.from_config(config), modern_attention(state)


STABLE_DIFFUSION_VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 256,
}
