"""Clips to one feature vector each, by a VideoMAE (Tong et al. 2022; TREPA uses VideoMAE v2 giant)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEModel

from latentsync.errors import UserError
from latentsync.models.weight_files import load_safetensors, load_strict, named, readable

NORM_FILE = "final_norm.safetensors"


class VideoEncoder(nn.Module):
    """VideoMAE tokens, mean-pooled, then normed: features (B, D) of frames (B, F, 3, H, W) in [0, 1].

    videomae: transformers VideoMAEModel with `use_mean_pooling`. final_norm: the LayerNorm after pooling, which
    transformers keeps in its classifier and published checkpoints call fc_norm.
    """

    def __init__(self, videomae: VideoMAEModel, final_norm: nn.LayerNorm) -> None:
        super().__init__()
        self.videomae, self.final_norm = videomae, final_norm

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "VideoEncoder":
        """Load what `save_pretrained` wrote, in float32.

        Raises UserError if it is not there, or if its weights are damaged or lack, exceed or misshape a key.
        """
        if not (Path(path) / "config.json").is_file() or not (Path(path) / NORM_FILE).is_file():
            raise UserError(
                f"objective.trepa: there is no video encoder in '{path}'; run `python -m latentsync.weights fetch "
                "videomae-v2-giant`, or set model.objective.trepa=0"
            )
        videomae = load_videomae(path)
        final_norm = nn.LayerNorm(videomae.config.hidden_size, eps=videomae.config.layer_norm_eps)
        load_strict(final_norm, load_safetensors(Path(path) / NORM_FILE), f"video encoder '{path}', {NORM_FILE}")
        return cls(videomae, final_norm).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json, model.safetensors and the final norm."""
        self.videomae.save_pretrained(folder)
        save_file(self.final_norm.state_dict(), Path(folder) / NORM_FILE)
        readable(Path(folder))

    def gradient_checkpointing_enable(self) -> None:
        """Recompute the transformer's activations in the backward pass."""
        self.videomae.gradient_checkpointing_enable({"use_reentrant": False})

    def forward(self, frames: Tensor) -> Tensor:
        """Features (B, D). Raises UserError if F is not what the network was made for."""
        wanted = self.videomae.config.num_frames
        if frames.shape[1] != wanted:
            raise UserError(
                f"the video encoder looks at {wanted} frames, the clips have {frames.shape[1]}: set num_frames"
            )
        inputs = prepare_frames(frames, self.videomae.config.image_size)
        with recomputable(self.videomae):
            tokens = self.videomae(inputs).last_hidden_state
        return self.final_norm(tokens.mean(dim=1))


@contextmanager
def recomputable(videomae: VideoMAEModel) -> Iterator[None]:
    """Let a frozen network recompute its layers, if that is enabled: transformers does so only for training ones.

    The flag is set on the layers alone; what is inside them stays in evaluation mode, without dropout.
    """
    modes = [(layer, layer.training) for layer in videomae.encoder.layer]
    for layer, mode in modes:
        layer.training = mode or layer.gradient_checkpointing
    try:
        yield
    finally:
        for layer, mode in modes:
            layer.training = mode


def load_videomae(path: str | Path) -> VideoMAEModel:
    """The VideoMAE of a transformers folder, every key used; transformers alone would fill gaps with random numbers."""
    try:
        videomae, report = VideoMAEModel.from_pretrained(
            path, dtype=torch.float32, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, SafetensorError) as error:
        raise UserError(f"video encoder '{path}': weights missing or damaged; fetch or copy it again") from error
    faults = [
        f"{len(report[f'{kind}_keys'])} {kind} ({named(sorted(map(str, report[f'{kind}_keys'])))})"
        for kind in ("missing", "unexpected", "mismatched")
        if report[f"{kind}_keys"]
    ]
    if faults:
        raise UserError(f"video encoder '{path}': does not fit VideoMAEModel: {'; '.join(faults)}")
    return videomae


def prepare_frames(frames: Tensor, image_size: int) -> Tensor:
    """Resize (B, F, 3, H, W) in [0, 1] to image_size² (bicubic, no antialias), clamped back to [0, 1], as published."""
    if frames.shape[-2:] == (image_size, image_size):
        return frames.clamp(0, 1)
    resized = F.interpolate(frames.flatten(0, 1).float(), size=(image_size, image_size), mode="bicubic")
    return rearrange(resized.clamp(0, 1), "(b f) c h w -> b f c h w", b=len(frames)).to(frames.dtype)


def videomae_for_pretraining(**config: Any) -> VideoMAEForPreTraining:
    """A new network for masked autoencoding; `config` are VideoMAEConfig's keys."""
    return VideoMAEForPreTraining(VideoMAEConfig(use_mean_pooling=True, qv_bias=True, **config))


def pretrained_encoder(network: VideoMAEForPreTraining) -> VideoEncoder:
    """The encoder of a masked autoencoder (weights shared), with a final norm that only standardises."""
    config = network.config
    final_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, dtype=torch.float32)
    return VideoEncoder(network.videomae, final_norm)
