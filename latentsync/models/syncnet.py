"""StableSyncNet: do 16 frames and a stretch of sound belong together? (LatentSync, arXiv 2412.09262, Sec. 4)"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from latentsync.errors import UserError

GROUPS, EPS, HEADS = 32, 1e-6, 8
ENCODER_KEYS = {"in_channels", "block_out_channels", "downsample_factors", "attn_blocks", "dropout"}


class SyncNetResnet(nn.Module):
    """Norm → SiLU → conv, twice, plus the input; then a strided convolution where `downsample` is not 1."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, downsample: int | tuple[int, int]) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, in_channels, EPS)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, out_channels, EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        if downsample != 1:
            self.downsample_conv = nn.Conv2d(out_channels, out_channels, 3, stride=downsample)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden_states = self.conv1(F.silu(self.norm1(inputs)))
        hidden_states = self.conv2(self.dropout(F.silu(self.norm2(hidden_states))))
        hidden_states = hidden_states + (inputs if self.conv_shortcut is None else self.conv_shortcut(inputs))
        if hasattr(self, "downsample_conv"):
            # As published: an axis that keeps its length is padded on both sides, one that shrinks only at its end.
            rows, columns = (1 if stride == 1 else 0 for stride in self.downsample_conv.stride)
            hidden_states = self.downsample_conv(F.pad(hidden_states, (columns, 1, rows, 1)))
        return hidden_states


class SyncNetAttention(nn.Module):
    """Self-attention over the pixels, and a GEGLU feed-forward, between two 1×1 convolutions; residual around it."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels, EPS)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, dropout=dropout, activation_fn="geglu")
        self.conv_in = nn.Conv2d(channels, channels, 1)
        self.conv_out = nn.Conv2d(channels, channels, 1)
        self.attn = Attention(channels, heads=HEADS, dim_head=channels // HEADS, dropout=dropout, bias=True)

    def forward(self, inputs: Tensor) -> Tensor:
        height = inputs.shape[2]
        tokens = rearrange(self.conv_in(self.norm1(inputs)), "b c h w -> b (h w) c")
        tokens = tokens + self.attn(self.norm2(tokens))
        tokens = tokens + self.ff(self.norm3(tokens))
        return inputs + self.conv_out(rearrange(tokens, "b (h w) c -> b c h w", h=height))


class SyncNetEncoder(nn.Module):
    """Pictures (B, in_channels, H, W) to embeddings (B, D), none of whose values is negative."""

    # Both are set by diffusers' `enable_gradient_checkpointing`.
    gradient_checkpointing = False
    _gradient_checkpointing_func: Callable[..., Tensor]

    def __init__(
        self,
        in_channels: int,
        block_out_channels: list[int],
        downsample_factors: list[int | list[int]],
        attn_blocks: list[int],
        dropout: float,
    ) -> None:
        super().__init__()
        if not len(block_out_channels) == len(downsample_factors) == len(attn_blocks):
            raise UserError("SyncNet: block_out_channels, downsample_factors and attn_blocks must be of one length")
        width = block_out_channels[0]
        self.conv_in = nn.Conv2d(in_channels, width, 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for channels, factor, attention in zip(block_out_channels, downsample_factors, attn_blocks):
            stride = factor if isinstance(factor, int) else (factor[0], factor[1])
            self.down_blocks.append(SyncNetResnet(width, channels, dropout, stride))
            if attention:
                self.down_blocks.append(SyncNetAttention(channels, dropout))
            width = channels
        self.norm_out = nn.GroupNorm(GROUPS, width, EPS)

    def forward(self, pictures: Tensor) -> Tensor:
        hidden_states = self.conv_in(pictures)
        for block in self.down_blocks:
            if self.gradient_checkpointing and torch.is_grad_enabled():
                hidden_states = self._gradient_checkpointing_func(block, hidden_states)
            else:
                hidden_states = block(hidden_states)
        return F.relu(self.norm_out(hidden_states)).flatten(1)


class StableSyncNet(ModelMixin, ConfigMixin):
    """Embeds 16 frames and their mel so that the cosine tells whether they are in sync.

    audio_encoder, visual_encoder: {in_channels, block_out_channels, downsample_factors, attn_blocks, dropout}, as in
    published configurations. resolution: side of the face it was trained on, in pixels (or latents); num_frames: F;
    latent_space: whether it looks at latents; lower_half: whether at the lower half of the face only.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        audio_encoder: dict[str, Any],
        visual_encoder: dict[str, Any],
        resolution: int = 256,
        num_frames: int = 16,
        latent_space: bool = False,
        lower_half: bool = True,
    ) -> None:
        super().__init__()
        for name, given in (("audio_encoder", audio_encoder), ("visual_encoder", visual_encoder)):
            if set(given) != ENCODER_KEYS:
                differing = sorted(set(given) ^ ENCODER_KEYS)[0]
                raise UserError(f"SyncNet: {name} has or lacks the key '{differing}'; it takes {sorted(ENCODER_KEYS)}")
        self.audio_encoder = SyncNetEncoder(**audio_encoder)
        self.visual_encoder = SyncNetEncoder(**visual_encoder)

    def forward(self, frames: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Unit embeddings (B, D) of frames and of sound.

        frames: (B, C·F, H/2, W), the lower halves of F frames folded into channels, in [-1, 1] (or latents);
        mel: (B, 1, 80, 52) for 16 frames. Raises UserError if the two embeddings differ in width for these sizes.
        """
        vision, audio = self.visual_encoder(frames), self.audio_encoder(mel)
        if vision.shape != audio.shape:
            raise UserError(
                f"SyncNet: frames {tuple(frames.shape)} give {vision.shape[1]} values, mel {tuple(mel.shape)} gives "
                f"{audio.shape[1]}; check resolution, num_frames and downsample_factors"
            )
        return F.normalize(vision, dim=1), F.normalize(audio, dim=1)

    def fold(self, frames: Tensor) -> Tensor:
        """Frames as the network takes them: resized to its resolution, folded into channels, its half of the face.

        frames: (B, F, C, H, W), pixels in [-1, 1] or latents. Returns (B, F·C, R/2, R), or (B, F·C, h, w) of latents.
        Raises UserError for another F.
        """
        if frames.shape[1] != self.config["num_frames"]:
            raise UserError(
                f"SyncNet looks at {self.config['num_frames']} frames, the clips have {frames.shape[1]}: set num_frames"
            )
        folded = rearrange(frames, "b f c h w -> b (f c) h w")
        if not self.config["latent_space"] and folded.shape[-1] != self.config["resolution"]:
            folded = F.interpolate(folded.float(), size=(self.config["resolution"],) * 2, mode="bicubic")
        return folded[..., folded.shape[-2] // 2 :, :] if self.config["lower_half"] else folded

    def cosine(self, frames: Tensor, mel: Tensor) -> Tensor:
        """Cosine (B,), float32, between frames (B, F, C, H, W) as for `fold` and mel (B, 1, 80, 52)."""
        vision, audio = self(self.fold(frames), mel)
        with torch.autocast(vision.device.type, enabled=False):
            return F.cosine_similarity(vision.float(), audio.float())

    def __getattr__(self, name: str) -> Any:
        # The two networks bear the names of configuration entries, and diffusers would hand out the entries, also to
        # its own `from_pretrained`.
        modules = self.__dict__.get("_modules", {})
        return modules[name] if name in modules else super().__getattr__(name)
