"""The temporal layers of stage 2: self-attention over a clip's frames, each pixel by itself (AnimateDiff's form)."""

from dataclasses import dataclass

from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from einops import rearrange
from torch import Tensor, nn

from latentsync.errors import UserError


@dataclass(frozen=True)
class MotionSettings:
    """What all temporal layers of a U-Net share.

    num_heads of each attention; num_blocks a layer; num_attentions a block; max_frames: as many positions are known,
    None = attention without positions; zero_initialize: a new layer changes nothing at first.
    """

    num_heads: int = 8
    num_blocks: int = 1
    num_attentions: int = 2
    norm_num_groups: int = 32
    max_frames: int | None = 24
    zero_initialize: bool = True


class TemporalSelfAttention(Attention):
    """Self-attention over frames (N, F, C), with a sinusoidal position added to its input."""

    def __init__(self, channels: int, settings: MotionSettings) -> None:
        heads = settings.num_heads
        super().__init__(query_dim=channels, heads=heads, dim_head=channels // heads, bias=False)
        # Its table is a buffer that published files hold, although it is the same for all.
        self.pos_encoder = SinusoidalPositionalEmbedding(channels, settings.max_frames) if settings.max_frames else None

    def forward(self, hidden_states: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(hidden_states if self.pos_encoder is None else self.pos_encoder(hidden_states))


class TemporalTransformerBlock(nn.Module):
    """[LayerNorm → self-attention over frames] × num_attentions → LayerNorm → GEGLU; a residual around each."""

    def __init__(self, channels: int, settings: MotionSettings) -> None:
        super().__init__()
        count = settings.num_attentions
        self.attention_blocks = nn.ModuleList(TemporalSelfAttention(channels, settings) for _ in range(count))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(count))
        self.ff = FeedForward(channels, activation_fn="geglu")
        self.ff_norm = nn.LayerNorm(channels)

    def forward(self, hidden_states: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms):
            hidden_states = hidden_states + attention(norm(hidden_states))
        return hidden_states + self.ff(self.ff_norm(hidden_states))


class TemporalTransformer(nn.Module):
    """Group norm of each frame → Linear → temporal blocks → Linear (zero at first), with a residual around it all."""

    def __init__(self, channels: int, settings: MotionSettings) -> None:
        super().__init__()
        self.max_frames = settings.max_frames
        self.norm = nn.GroupNorm(settings.norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TemporalTransformerBlock(channels, settings) for _ in range(settings.num_blocks)
        )
        self.proj_out = nn.Linear(channels, channels)
        if settings.zero_initialize:
            nn.init.zeros_(self.proj_out.weight)
            nn.init.zeros_(self.proj_out.bias)

    def forward(self, hidden_states: Tensor, num_frames: int) -> Tensor:
        """hidden_states and result: (B·F, C, h, w), F = num_frames. Raises UserError for too many frames."""
        if self.max_frames is not None and num_frames > self.max_frames:
            raise UserError(
                f"num_frames={num_frames}: the U-Net's temporal layers hold positions for {self.max_frames}; take "
                "fewer frames, or train with a larger temporal_position_encoding_max_len"
            )
        height, width = hidden_states.shape[-2:]
        tokens = rearrange(self.norm(hidden_states), "(b f) c h w -> (b h w) f c", f=num_frames)
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens)
        update = rearrange(self.proj_out(tokens), "(b h w) f c -> (b f) c h w", h=height, w=width)
        return hidden_states + update


class MotionModule(nn.Module):
    """A temporal transformer under the name that published files give it."""

    def __init__(self, channels: int, settings: MotionSettings) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, settings)

    def forward(self, hidden_states: Tensor, num_frames: int) -> Tensor:
        return self.temporal_transformer(hidden_states, num_frames)
