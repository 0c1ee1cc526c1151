"""The blocks of the U-Net: residual layers, audio cross-attention, temporal layers, and the levels made of them.

Everything runs on (B·F, C, h, w): a frame is a picture, except in the group norms of the residual layers, whose statistics
are over the frames of a clip as well, and in the temporal layers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from einops import rearrange
from torch import Tensor, nn

from latentsync.models.temporal import MotionModule


@dataclass(frozen=True)
class LayerSettings:
    """What all layers of a U-Net share. motion: arguments of the temporal layers, or None where there are none."""

    time_embedding_dim: int
    norm_num_groups: int
    norm_eps: float
    num_heads: int
    cross_attention_dim: int
    motion: dict | None


class ClipGroupNorm(nn.GroupNorm):
    """Group norm of (B·F, C, h, w) with statistics over the F frames of each clip."""

    def forward(self, hidden_states: Tensor, num_frames: int) -> Tensor:  # type: ignore[override]
        if num_frames == 1:
            return super().forward(hidden_states)
        clips = rearrange(hidden_states, "(b f) c h w -> b c f h w", f=num_frames)
        return rearrange(super().forward(clips), "b c f h w -> (b f) c h w")


class ResnetBlock(nn.Module):
    """Norm → SiLU → conv, plus the timestep, norm → SiLU → conv, plus the input (1×1 conv where the width changes)."""

    def __init__(self, in_channels: int, out_channels: int, settings: LayerSettings) -> None:
        super().__init__()
        groups, eps = settings.norm_num_groups, settings.norm_eps
        self.norm1 = ClipGroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(settings.time_embedding_dim, out_channels)
        self.norm2 = ClipGroupNorm(groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, inputs: Tensor, time_embedding: Tensor, num_frames: int) -> Tensor:
        """inputs (B·F, C, h, w); time_embedding (B·F, T)."""
        hidden_states = self.conv1(F.silu(self.norm1(inputs, num_frames)))
        hidden_states = hidden_states + self.time_emb_proj(F.silu(time_embedding))[:, :, None, None]
        hidden_states = self.conv2(F.silu(self.norm2(hidden_states, num_frames)))
        return hidden_states + (inputs if self.conv_shortcut is None else self.conv_shortcut(inputs))


class Downsample(nn.Module):
    """Half the size by a strided convolution."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.padding = padding
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, hidden_states: Tensor) -> Tensor:
        if self.padding == 0:
            hidden_states = F.pad(hidden_states, (0, 1, 0, 1))
        return self.conv(hidden_states)


class Upsample(nn.Module):
    """Twice the size by nearest neighbour and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.conv(F.interpolate(hidden_states, scale_factor=2.0, mode="nearest"))


def audio_attention(channels: int, settings: LayerSettings) -> Transformer2DModel:
    """Spatial self-attention and cross-attention to the audio tokens, as in Stable Diffusion 1.5."""
    return Transformer2DModel(
        num_attention_heads=settings.num_heads,
        attention_head_dim=channels // settings.num_heads,
        in_channels=channels,
        cross_attention_dim=settings.cross_attention_dim,
        norm_num_groups=settings.norm_num_groups,
    )


class LayeredBlock(nn.Module):
    """Layers of residual block, attention (if any) and temporal layer (if any); the common part of all levels."""

    gradient_checkpointing = False

    def __init__(self, widths: list[tuple[int, int]], attention: bool, settings: LayerSettings) -> None:
        """widths: (in, out) channels of each layer."""
        super().__init__()
        outputs = [width for _, width in widths]
        if attention:
            self.attentions = nn.ModuleList(audio_attention(width, settings) for width in outputs)
        self.resnets = nn.ModuleList(ResnetBlock(before, after, settings) for before, after in widths)
        if settings.motion is not None:
            self.motion_modules = nn.ModuleList(MotionModule(width, **settings.motion) for width in outputs)

    def layer(self, index: int, hidden_states: Tensor, time_embedding: Tensor, tokens: Tensor, num_frames: int) -> Tensor:
        """Apply layer `index`."""
        hidden_states = self._run(self.resnets[index], hidden_states, time_embedding, num_frames)
        if hasattr(self, "attentions"):  # recomputes its own activations when checkpointing is on
            hidden_states = self.attentions[index](hidden_states, encoder_hidden_states=tokens, return_dict=False)[0]
        if hasattr(self, "motion_modules"):
            hidden_states = self._run(self.motion_modules[index], hidden_states, num_frames)
        return hidden_states

    def _run(self, module: nn.Module, *inputs: Tensor | int) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(module, *inputs)  # set by diffusers' ModelMixin
        return module(*inputs)


class DownBlock(LayeredBlock):
    """One level on the way down; hands its layers' outputs to the level opposite."""

    def __init__(
        self, in_channels: int, out_channels: int, num_layers: int, attention: bool, downsample_padding: int | None, settings: LayerSettings
    ) -> None:
        """downsample_padding: of the strided convolution at the end, or None for no downsampling."""
        widths = [(in_channels if index == 0 else out_channels, out_channels) for index in range(num_layers)]
        super().__init__(widths, attention, settings)
        if downsample_padding is not None:
            self.downsamplers = nn.ModuleList([Downsample(out_channels, downsample_padding)])

    def forward(self, hidden_states: Tensor, time_embedding: Tensor, tokens: Tensor, num_frames: int) -> tuple[Tensor, list[Tensor]]:
        skips = []
        for index in range(len(self.resnets)):
            hidden_states = self.layer(index, hidden_states, time_embedding, tokens, num_frames)
            skips.append(hidden_states)
        if hasattr(self, "downsamplers"):
            hidden_states = self.downsamplers[0](hidden_states)
            skips.append(hidden_states)
        return hidden_states, skips


class UpBlock(LayeredBlock):
    """One level on the way up; each layer takes one output of the level opposite."""

    def __init__(
        self, in_channels: int, out_channels: int, skip_channels: list[int], attention: bool, upsample: bool, settings: LayerSettings
    ) -> None:
        """skip_channels: width of the tensors taken from the way down, in the order of the layers."""
        widths = [
            ((in_channels if index == 0 else out_channels) + skip, out_channels) for index, skip in enumerate(skip_channels)
        ]
        super().__init__(widths, attention, settings)
        if upsample:
            self.upsamplers = nn.ModuleList([Upsample(out_channels)])

    def forward(
        self, hidden_states: Tensor, skips: list[Tensor], time_embedding: Tensor, tokens: Tensor, num_frames: int
    ) -> Tensor:
        """skips: all tensors of the way down that are left; those used here are taken off its end."""
        for index in range(len(self.resnets)):
            hidden_states = torch.cat([hidden_states, skips.pop()], dim=1)
            hidden_states = self.layer(index, hidden_states, time_embedding, tokens, num_frames)
        if hasattr(self, "upsamplers"):
            hidden_states = self.upsamplers[0](hidden_states)
        return hidden_states


class MidBlock(nn.Module):
    """Residual block → attention → residual block; no temporal layer."""

    def __init__(self, channels: int, settings: LayerSettings) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([audio_attention(channels, settings)])
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, settings) for _ in range(2))

    def forward(self, hidden_states: Tensor, time_embedding: Tensor, tokens: Tensor, num_frames: int) -> Tensor:
        hidden_states = self.resnets[0](hidden_states, time_embedding, num_frames)
        hidden_states = self.attentions[0](hidden_states, encoder_hidden_states=tokens, return_dict=False)[0]
        return self.resnets[1](hidden_states, time_embedding, num_frames)
