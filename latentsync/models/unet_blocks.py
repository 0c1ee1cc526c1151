"""The blocks of the U-Net: residual layers, audio attention, temporal layers, and the levels made of them.

Everything runs on (B·F, C, h, w): a frame is a picture, except in the group norms of the residual layers, whose
statistics are over the frames of a clip as well, and in the temporal layers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from einops import rearrange
from torch import Tensor, nn

from latentsync.models.temporal import MotionModule, MotionSettings


@dataclass(frozen=True)
class LayerSettings:
    """What all layers of a level share. motion: None for a level without temporal layers."""

    time_embedding_dim: int
    norm_num_groups: int
    norm_eps: float
    num_heads: int
    cross_attention_dim: int
    motion: MotionSettings | None = None


@dataclass(frozen=True)
class Condition:
    """What every layer is told about the clips.

    time_embedding: (B, T), through its SiLU; audio_tokens: (B·F, L, D); num_frames: F.
    """

    time_embedding: Tensor
    audio_tokens: Tensor
    num_frames: int


class ClipGroupNorm(nn.GroupNorm):
    """Group norm of (B·F, C, h, w) with statistics over the F frames of each clip."""

    def forward(self, hidden_states: Tensor, num_frames: int) -> Tensor:  # type: ignore[override]
        # The two copies cost a tenth of what statistics over a strided view cost (CPU, forward and backward).
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
        """inputs: (B·F, C, h, w); time_embedding: (B, T), through its SiLU. Returns (B·F, out_channels, h, w)."""
        hidden_states = self.conv1(F.silu(self.norm1(inputs, num_frames)))
        time_shift = self.time_emb_proj(time_embedding).repeat_interleave(num_frames, dim=0)  # (B·F, C)
        hidden_states = hidden_states + time_shift[:, :, None, None]
        hidden_states = self.conv2(F.silu(self.norm2(hidden_states, num_frames)))
        return hidden_states + (inputs if self.conv_shortcut is None else self.conv_shortcut(inputs))


class Downsample(nn.Module):
    """Half the size by a strided convolution."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.conv(hidden_states)


class Upsample(nn.Module):
    """Twice the size by nearest neighbour and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.conv(F.interpolate(hidden_states, scale_factor=2.0, mode="nearest"))


def audio_attention(channels: int, settings: LayerSettings) -> Transformer2DModel:
    """Spatial self-attention and cross-attention to the audio tokens, frame by frame, as in Stable Diffusion 1.5."""
    return Transformer2DModel(
        num_attention_heads=settings.num_heads,
        attention_head_dim=channels // settings.num_heads,
        in_channels=channels,
        cross_attention_dim=settings.cross_attention_dim,
        norm_num_groups=settings.norm_num_groups,
    )


class Level(nn.Module):
    """Layers of residual block, attention (if any) and temporal layer (if any); what all levels have in common."""

    # Both are set by diffusers' `enable_gradient_checkpointing`.
    gradient_checkpointing = False
    _gradient_checkpointing_func: Callable[..., Tensor]

    def __init__(self, widths: list[tuple[int, int]], attention: bool, settings: LayerSettings) -> None:
        """widths: (in, out) channels of each layer."""
        super().__init__()
        outputs = [width for _, width in widths]
        self.resnets = nn.ModuleList(ResnetBlock(before, after, settings) for before, after in widths)
        self.attentions = nn.ModuleList(audio_attention(width, settings) for width in outputs if attention)
        self.motion_modules = nn.ModuleList(
            MotionModule(width, settings.motion) for width in outputs if settings.motion is not None
        )

    def layer(self, index: int, hidden_states: Tensor, condition: Condition) -> Tensor:
        """Residual block, attention and temporal layer number `index`."""
        num_frames = condition.num_frames
        hidden_states = self.run(self.resnets[index], hidden_states, condition.time_embedding, num_frames)
        if self.attentions:
            hidden_states = self.attend(index, hidden_states, condition)
        if self.motion_modules:
            hidden_states = self.run(self.motion_modules[index], hidden_states, num_frames)
        return hidden_states

    def attend(self, index: int, hidden_states: Tensor, condition: Condition) -> Tensor:
        """The attention of layer `index`; diffusers checkpoints it by itself."""
        attention = self.attentions[index]
        return attention(hidden_states, encoder_hidden_states=condition.audio_tokens, return_dict=False)[0]

    def run(self, module: nn.Module, *inputs: Tensor | int) -> Tensor:
        """module(*inputs), whose inner activations are computed again on the way back where checkpointing is on."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return self._gradient_checkpointing_func(module, *inputs)
        return module(*inputs)


class DownLevel(Level):
    """One level on the way down; hands its layers' outputs to the level opposite."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_layers: int,
        attention: bool,
        downsample_padding: int | None,
        settings: LayerSettings,
    ) -> None:
        """downsample_padding: of the strided convolution at the end; None = the size stays."""
        widths = [(in_channels if index == 0 else out_channels, out_channels) for index in range(num_layers)]
        super().__init__(widths, attention, settings)
        samplers = [] if downsample_padding is None else [Downsample(out_channels, downsample_padding)]
        self.downsamplers = nn.ModuleList(samplers)

    def forward(self, hidden_states: Tensor, condition: Condition) -> tuple[Tensor, list[Tensor]]:
        """Returns the output and everything that the way up will ask for, in order."""
        outputs = self.layers(hidden_states, condition)
        hidden_states, more = self.down(outputs[-1])
        return hidden_states, outputs + more

    def layers(self, hidden_states: Tensor, condition: Condition) -> list[Tensor]:
        """The outputs of the layers, at the size of the input."""
        outputs = []
        for index in range(len(self.resnets)):
            hidden_states = self.layer(index, hidden_states, condition)
            outputs.append(hidden_states)
        return outputs

    def down(self, hidden_states: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The next level's input, and what the way up will ask of it: nothing where the size stays."""
        outputs = []
        for downsample in self.downsamplers:
            hidden_states = downsample(hidden_states)
            outputs.append(hidden_states)
        return hidden_states, outputs


class UpLevel(Level):
    """One level on the way up; each layer takes one output of the way down."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skip_channels: list[int],
        attention: bool,
        upsample: bool,
        settings: LayerSettings,
    ) -> None:
        """skip_channels: widths of the tensors taken from the way down, in the order of the layers."""
        before = [in_channels, *[out_channels] * (len(skip_channels) - 1)]
        widths = [(inputs + skip, out_channels) for inputs, skip in zip(before, skip_channels)]
        super().__init__(widths, attention, settings)
        self.upsamplers = nn.ModuleList([Upsample(out_channels)] if upsample else [])

    def forward(self, hidden_states: Tensor, skips: list[Tensor], condition: Condition) -> Tensor:
        """skips: what is left of the way down; what is used here is taken off its end."""
        for index in range(len(self.resnets)):
            hidden_states = torch.cat([hidden_states, skips.pop()], dim=1)
            hidden_states = self.layer(index, hidden_states, condition)
        for upsample in self.upsamplers:
            hidden_states = upsample(hidden_states)
        return hidden_states


class MidLevel(Level):
    """The smallest size: residual block → attention → residual block; no temporal layer."""

    def __init__(self, channels: int, settings: LayerSettings) -> None:
        super().__init__([(channels, channels)], True, settings)
        self.resnets.append(ResnetBlock(channels, channels, settings))

    def forward(self, hidden_states: Tensor, condition: Condition) -> Tensor:
        hidden_states = self.layer(0, hidden_states, condition)
        return self.run(self.resnets[1], hidden_states, condition.time_embedding, condition.num_frames)
