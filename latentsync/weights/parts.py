"""Load the frozen networks strictly, from any published format: autoencoder, audio, SyncNet and video encoder."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn
from transformers import VideoMAEModel, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from latentsync.errors import UserError
from latentsync.models.audio_encoder import AudioEncoder
from latentsync.models.autoencoder import FrameAutoencoder
from latentsync.weights.companions import find_part
from latentsync.weights.identify import identify
from latentsync.weights.layout import syncnet_config
from latentsync.weights.load import folder_config, folder_weights, load_state, load_strict, state_of
from latentsync.weights.videomae import videomae_to_transformers
from latentsync.weights.whisper_openai import openai_to_transformers

if TYPE_CHECKING:
    from latentsync.models.syncnet import StableSyncNet
    from latentsync.models.video_encoder import VideoEncoder

# Attention of the autoencoder's middle block as diffusers named it before version 0.17.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OLD_ATTENTION_KEY = re.compile(r"(.*\.attentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")


def load_autoencoder(folder: Path | str) -> FrameAutoencoder:
    """The autoencoder of a known name, a model, or a diffusers folder (safetensors or .bin, old or new attention
    names), every key used.

    An AutoencoderKL, or, where config.json says so, an AutoencoderTiny of 4 latent channels (TAESD). Raises UserError.
    """
    folder = find_part("autoencoder", folder)
    config = folder_config(folder)
    state = modern_attention(folder_weights(folder))
    tiny = config.get("_class_name") == "AutoencoderTiny"
    if tiny and config.get("latent_channels", 4) != 4:
        raise UserError(
            f"autoencoder '{folder}': {config['latent_channels']} latent channels; the U-Net takes 4 (TAESD)"
        )
    with torch.device("meta"):
        vae: AutoencoderKL | AutoencoderTiny = (AutoencoderTiny if tiny else AutoencoderKL).from_config(config)
    load_strict(vae, state, f"autoencoder '{folder}'", assign=True)
    return FrameAutoencoder(vae)


def modern_attention(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Old attention keys under their new names; 1 × 1 convolutions (O, I, 1, 1) there become matrices (O, I)."""
    out = {}
    for key, value in state.items():
        found = OLD_ATTENTION_KEY.fullmatch(key)
        if found:
            key = f"{found[1]}.{OLD_ATTENTION[found[2]]}.{found[3]}"
            value = value[:, :, 0, 0] if value.ndim == 4 else value
        out[key] = value
    return out


def load_audio_encoder(path: Path | str, **options: Any) -> AudioEncoder:
    """The audio encoder of a known name, of a model, of OpenAI's `.pt`, of our folder, or of a transformers Whisper
    folder, every encoder key used.

    options: for `AudioEncoder`, for example piece_overlap_seconds=0 for parity.
    """
    path = find_part("audio_encoder", path)
    if path.is_dir():
        file = next((path / name for name in ("tiny.pt", "tiny.en.pt") if (path / name).is_file()), None)
        if file is not None and not (path / "config.json").is_file():
            return load_audio_encoder(file, **options)
        known_fields = {name: value for name, value in folder_config(path).items() if not name.startswith("_")}
        config, state = WhisperConfig(**known_fields), encoder_part(folder_weights(path))
    else:
        config, state = openai_to_transformers(load_state(path))
    encoder = WhisperEncoder(config)
    load_strict(encoder, state, f"audio encoder '{path}'")
    return AudioEncoder(encoder.float(), **options)


def encoder_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's keys of a transformers Whisper, with whatever stands before them taken off; others are left out."""
    marker = "conv1.weight"
    prefix = next((key.removesuffix(marker) for key in state if key.endswith(marker)), "")
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def load_syncnet(path: Path | str, config: Mapping[str, Any] | None = None) -> "StableSyncNet":
    """StableSyncNet of a published `.pt` or of our folder.

    config: {"audio_encoder", "visual_encoder"} in the published spelling; None = the folder's, or what the shapes tell.
    """
    from latentsync.models.syncnet import StableSyncNet

    path = Path(path)
    if path.is_dir() and not (path / "config.json").is_file() and (path / "stable_syncnet.pt").is_file():
        path = path / "stable_syncnet.pt"
    state = folder_weights(path) if path.is_dir() else state_of(load_state(path))
    if identify(state).kind != "stable-syncnet":
        raise UserError(f"SyncNet '{path}': {identify(state).kind} weights, not a StableSyncNet's")
    if config is None and path.is_dir():
        told = folder_config(path).items()
        config = {name: value for name, value in told if not name.startswith("_") and name != "global_step"}
    syncnet = StableSyncNet(**(syncnet_config(state) if config is None else config))
    load_strict(syncnet, state, f"SyncNet '{path}'")
    return syncnet


def load_video_encoder(path: Path | str, config: Mapping[str, Any] | None = None) -> "VideoEncoder":
    """The video encoder of a published VideoMAE v2 file; config: the published spelling, None = VideoMAE v2 giant."""
    from latentsync.models.video_encoder import VideoEncoder

    settings, state, norm = videomae_to_transformers(load_state(path), config)
    with torch.device("meta"):
        network, final = VideoMAEModel(settings), nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
    load_strict(network, state, f"video encoder '{path}'", assign=True)
    load_strict(final, norm, f"video encoder '{path}'", assign=True)
    return VideoEncoder(network.eval(), final)
