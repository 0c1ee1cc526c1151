"""The temporal layers of stage 2: self-attention over the frames of a clip, at every pixel by itself (AnimateDiff's form)."""

from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from einops import rearrange
from torch import Tensor, nn

from latentsync.errors import UserError


class TemporalSelfAttention(Attention):
    """Self-attention over frames (N, F, C), with a sinusoidal position added to its input."""

    def __init__(self, channels: int, num_heads: int, max_frames: int) -> None:
        super().__init__(query_dim=channels, heads=num_heads, dim_head=channels // num_heads, bias=False)
        self.pos_encoder = SinusoidalPositionalEmbedding(channels, max_frames)

    def forward(self, hidden_states: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(self.pos_encoder(hidden_states))


class TemporalTransformerBlock(nn.Module):
    """[LayerNorm → self-attention over frames] as often as asked for, then LayerNorm → GEGLU feed-forward; residual each."""

    def __init__(self, channels: int, num_heads: int, num_attentions: int, max_frames: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(
            TemporalSelfAttention(channels, num_heads, max_frames) for _ in range(num_attentions)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(num_attentions))
        self.ff = FeedForward(channels, activation_fn="geglu")
        self.ff_norm = nn.LayerNorm(channels)

    def forward(self, hidden_states: Tensor) -> Tensor:
        for attention, norm in zip(self.attention_blocks, self.norms):
            hidden_states = hidden_states + attention(norm(hidden_states))
        return hidden_states + self.ff(self.ff_norm(hidden_states))


class TemporalTransformer(nn.Module):
    """Norm per frame → Linear → temporal blocks → Linear (zero at first), with a residual around it all.

    Input and output (B·F, C, h, w).
    """

    def __init__(
        self,
        channels: int,
        num_attention_heads: int = 8,
        num_transformer_block: int = 1,
        num_attentions: int = 2,
        norm_num_groups: int = 32,
        max_frames: int = 24,
        zero_initialize: bool = True,
    ) -> None:
        super().__init__()
        self.max_frames = max_frames
        self.norm = nn.GroupNorm(norm_num_groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(
            TemporalTransformerBlock(channels, num_attention_heads, num_attentions, max_frames)
            for _ in range(num_transformer_block)
        )
        self.proj_out = nn.Linear(channels, channels)
        if zero_initialize:
            nn.init.zeros_(self.proj_out.weight)
            nn.init.zeros_(self.proj_out.bias)

    def forward(self, hidden_states: Tensor, num_frames: int) -> Tensor:
        if num_frames > self.max_frames:
            raise UserError(f"num_frames={num_frames}: the temporal layers hold positions for {self.max_frames} frames")
        height = hidden_states.shape[-2]
        tokens = rearrange(self.norm(hidden_states), "(b f) c h w -> (b h w) f c", f=num_frames)
        tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens)
        update = rearrange(self.proj_out(tokens), "(b h w) f c -> (b f) c h w", f=num_frames, h=height, b=len(hidden_states) // num_frames)
        return hidden_states + update


class MotionModule(nn.Module):
    """A temporal transformer under the name that published files give it."""

    def __init__(self, channels: int, **kwargs: int | bool) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, **kwargs)  # type: ignore[arg-type]

    def forward(self, hidden_states: Tensor, num_frames: int) -> Tensor:
        return self.temporal_transformer(hidden_states, num_frames)
