"""LatentSync's U-Net: Stable Diffusion 1.5's, inflated over time and conditioned on audio (arXiv 2412.09262)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from einops import rearrange
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.cpu_attention import use_cpu_attention
from latentsync.models.temporal import MotionSettings
from latentsync.models.unet_blocks import ClipGroupNorm, Condition, DownLevel, LayerSettings, MidLevel, UpLevel

# Keys of published configurations for which one value is known; any other is refused.
ONLY_VALUES = {
    "act_fn": "silu",
    "add_audio_layer": True,
    "center_input_sample": False,
    "downsample_padding": 1,
    "mid_block_type": "UNetMidBlock3DCrossAttn",
    "mid_block_scale_factor": 1,
    "motion_module_mid_block": False,
    "motion_module_type": "Vanilla",
    "resnet_time_scale_shift": "default",
}
VAE_FACTOR = 8  # pixels a latent pixel


class UNet3DConditionModel(ModelMixin, ConfigMixin):  # type: ignore[misc]  # diffusers' own mixture
    """Predicts the noise in a clip's latents from audio, the masked clip and a reference clip.

    Takes a published configuration as it is; keys with one supported value (`ONLY_VALUES`) raise UserError for others.
    Saves and loads as a diffusers model (`save_pretrained`, `from_pretrained`, `enable_gradient_checkpointing`).
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,                 # latents' side it was trained on; for information only
        in_channels: int = 13,                          # noisy latents 4, mask 1, masked latents 4, reference latents 4
        out_channels: int = 4,                          # predicted noise
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),  # width of each level, from full size down
        down_block_types: tuple[str, ...] = ("CrossAttnDownBlock3D",) * 3 + ("DownBlock3D",),
        up_block_types: tuple[str, ...] = ("UpBlock3D",) + ("CrossAttnUpBlock3D",) * 3,  # from the smallest size up
        layers_per_block: int = 2,                      # residual blocks a level; one more on the way up
        attention_head_dim: int = 8,                    # the NUMBER of heads: Stable Diffusion 1.5's name for it
        cross_attention_dim: int = 384,                 # width of an audio token
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        flip_sin_to_cos: bool = True,                   # order of the timestep's sinusoids
        freq_shift: int = 0,
        use_motion_module: bool = True,                 # temporal layers …
        motion_module_resolutions: tuple[int, ...] = (1, 2, 4, 8),  # … at these downsampling factors
        motion_module_decoder_only: bool = False,       # … on the way up only
        motion_module_kwargs: dict[str, Any] | None = None,
        act_fn: str = "silu",                           # from here on: one supported value each
        add_audio_layer: bool = True,
        center_input_sample: bool = False,
        downsample_padding: int = 1,
        mid_block_type: str = "UNetMidBlock3DCrossAttn",
        mid_block_scale_factor: float = 1,
        motion_module_mid_block: bool = False,
        motion_module_type: str = "Vanilla",
        resnet_time_scale_shift: str = "default",
        resolution: int | None = None,                  # pixels, of the faces it was trained on; for information only
    ) -> None:  # fmt: skip
        super().__init__()
        _check_configuration(self.config)
        num_levels = len(block_out_channels)
        widths = list(block_out_channels)
        time_embedding_dim = widths[0] * 4
        plain = LayerSettings(time_embedding_dim, norm_num_groups, norm_eps, attention_head_dim, cross_attention_dim)
        moving = replace(plain, motion=motion_settings(motion_module_kwargs or {}, norm_num_groups))
        with_motion = [use_motion_module and 2**level in motion_module_resolutions for level in range(num_levels)]

        self.conv_in = _zeroed(nn.Conv2d(in_channels, widths[0], 3, padding=1))
        self.time_proj = Timesteps(widths[0], flip_sin_to_cos, freq_shift)
        self.time_embedding = TimestepEmbedding(widths[0], time_embedding_dim)

        self.down_blocks = nn.ModuleList()
        skip_widths = [widths[0]]
        for level, (kind, width) in enumerate(zip(down_block_types, widths)):
            settings = moving if with_motion[level] and not motion_module_decoder_only else plain
            last = level == num_levels - 1
            padding = None if last else downsample_padding
            self.down_blocks.append(
                DownLevel(skip_widths[-1], width, layers_per_block, kind.startswith("CrossAttn"), padding, settings)
            )
            skip_widths += [width] * (layers_per_block + (not last))

        self.mid_block = MidLevel(widths[-1], plain)

        self.up_blocks = nn.ModuleList()
        before = widths[-1]
        for level, kind in zip(reversed(range(num_levels)), up_block_types):
            settings = moving if with_motion[level] else plain
            taken = [skip_widths.pop() for _ in range(layers_per_block + 1)]
            self.up_blocks.append(
                UpLevel(before, widths[level], taken, kind.startswith("CrossAttn"), level > 0, settings)
            )
            before = widths[level]

        self.conv_norm_out = ClipGroupNorm(norm_num_groups, widths[0], norm_eps)
        self.conv_out = _zeroed(nn.Conv2d(widths[0], out_channels, 3, padding=1))
        use_cpu_attention(self)

    def forward(self, sample: Tensor, timesteps: Tensor | float, encoder_hidden_states: Tensor) -> Tensor:
        """Predicted noise (B, 4, F, h, w), in the dtype of the weights.

        sample: (B, 13, F, h, w): noisy latents, mask, masked latents, reference latents; timesteps: (B,) or one number,
        in [0, 1000); encoder_hidden_states: audio tokens (B, F, L, D). Raises UserError for sizes that do not fit.
        """
        skips, condition = self.enter(sample, timesteps, encoder_hidden_states)
        return self.leave(self.deep(skips[-1], condition), skips, condition)

    def enter(
        self, sample: Tensor, timesteps: Tensor | float, encoder_hidden_states: Tensor
    ) -> tuple[list[Tensor], Condition]:
        """The layers of the full size on the way down: what each gives, and what all layers are conditioned on."""
        self._check_inputs(sample, encoder_hidden_states)
        batch, _, num_frames, _, _ = sample.shape
        dtype = self.conv_in.weight.dtype
        timesteps = torch.as_tensor(timesteps, device=sample.device).expand(batch)
        time_embedding = self.time_embedding(self.time_proj(timesteps).to(dtype))  # (B, T)
        condition = Condition(F.silu(time_embedding), encoder_hidden_states.flatten(0, 1).to(dtype), num_frames)
        hidden_states = self.conv_in(rearrange(sample.to(dtype), "b c f h w -> (b f) c h w"))
        first: Any = self.down_blocks[0]
        return [hidden_states, *first.layers(hidden_states, condition)], condition

    def deep(self, hidden_states: Tensor, condition: Condition) -> Tensor:
        """All below the full size: from what the first level's layers give to what the last level takes."""
        first: Any = self.down_blocks[0]
        hidden_states, skips = first.down(hidden_states)
        for block in self.down_blocks[1:]:
            hidden_states, outputs = block(hidden_states, condition)
            skips += outputs
        hidden_states = self.mid_block(hidden_states, condition)
        for block in self.up_blocks[:-1]:
            hidden_states = block(hidden_states, skips, condition)
        return hidden_states

    def leave(self, hidden_states: Tensor, skips: list[Tensor], condition: Condition) -> Tensor:
        """The layers of the full size on the way up, and the prediction."""
        hidden_states = self.up_blocks[-1](hidden_states, skips.copy(), condition)
        hidden_states = self.conv_out(F.silu(self.conv_norm_out(hidden_states, condition.num_frames)))
        return rearrange(hidden_states, "(b f) c h w -> b c f h w", f=condition.num_frames)

    def _check_inputs(self, sample: Tensor, audio_tokens: Tensor) -> None:
        if sample.ndim != 5 or sample.shape[1] != self.config["in_channels"]:
            wanted = f"(B, {self.config['in_channels']}, F, h, w)"
            raise UserError(f"U-Net: input of shape {tuple(sample.shape)}, it takes {wanted}; in_channels must fit")
        batch, _, num_frames, height, width = sample.shape
        factor = 2 ** (len(self.down_blocks) - 1)
        if height % factor or width % factor:
            raise UserError(
                f"U-Net: latents of {height} × {width} cannot be halved {len(self.down_blocks) - 1} times; "
                f"choose a resolution divisible by {VAE_FACTOR * factor}"
            )
        audio_width = self.config["cross_attention_dim"]
        shape = audio_tokens.shape
        if len(shape) != 4 or (*shape[:2], shape[3]) != (batch, num_frames, audio_width):
            raise UserError(
                f"U-Net: audio tokens of shape {tuple(shape)}, it takes ({batch}, {num_frames}, L, "
                f"{audio_width}); cross_attention_dim must be the audio encoder's width"
            )


def motion_settings(given: Mapping[str, Any], norm_num_groups: int) -> MotionSettings:
    """The temporal layers' settings from `motion_module_kwargs` of a published configuration. Raises UserError."""
    known = {
        "num_attention_heads": 8,
        "num_transformer_block": 1,
        "attention_block_types": ("Temporal_Self", "Temporal_Self"),
        "temporal_position_encoding": True,
        "temporal_position_encoding_max_len": 24,
        "temporal_attention_dim_div": 1,
        "zero_initialize": True,
    }
    if unknown := sorted(given.keys() - known.keys()):
        raise UserError(f"U-Net: motion_module_kwargs has no key '{unknown[0]}'; known are {', '.join(known)}")
    values: dict[str, Any] = {**known, **given}
    if set(values["attention_block_types"]) != {"Temporal_Self"}:
        kinds = list(values["attention_block_types"])
        raise UserError(f"U-Net: attention_block_types={kinds} is not supported, only 'Temporal_Self' in any number")
    if values["temporal_attention_dim_div"] != 1:
        divisor = values["temporal_attention_dim_div"]
        raise UserError(f"U-Net: temporal_attention_dim_div={divisor!r} is not supported, only 1")
    return MotionSettings(
        num_heads=values["num_attention_heads"],
        num_blocks=values["num_transformer_block"],
        num_attentions=len(values["attention_block_types"]),
        norm_num_groups=norm_num_groups,
        max_frames=values["temporal_position_encoding_max_len"] if values["temporal_position_encoding"] else None,
        zero_initialize=values["zero_initialize"],
    )


def _check_configuration(config: Mapping[str, Any]) -> None:
    for name, only in ONLY_VALUES.items():
        if config[name] != only:
            raise UserError(f"U-Net: {name}={config[name]!r} is not supported, only {only!r}")
    widths = config["block_out_channels"]
    resolution, side = config["resolution"], VAE_FACTOR * 2 ** (len(widths) - 1)
    if resolution is not None and (not isinstance(resolution, int) or resolution < side or resolution % side):
        raise UserError(
            f"resolution={resolution}: not a multiple of {side} ({VAE_FACTOR} for the VAE times {side // VAE_FACTOR} "
            f"for the U-Net's {len(widths)} levels)"
        )
    for direction in ("Down", "Up"):
        key = f"{direction.lower()}_block_types"
        known = (f"{direction}Block3D", f"CrossAttn{direction}Block3D")
        if len(config[key]) != len(widths):
            raise UserError(f"U-Net: {key} has {len(config[key])} entries, block_out_channels {len(widths)}")
        for kind in config[key]:
            if kind not in known:
                raise UserError(f"U-Net: {key} contains '{kind}'; known are {' and '.join(known)}")
    divisors = {key: config[key] for key in ("norm_num_groups", "attention_head_dim")}
    if config["use_motion_module"]:
        divisors["num_attention_heads"] = (config["motion_module_kwargs"] or {}).get("num_attention_heads", 8)
    for width in widths:
        for key, divisor in divisors.items():
            if width % divisor:
                raise UserError(f"U-Net: block_out_channels contains {width}, not divisible by {key}={divisor}")


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The convolution with weights and bias 0, as the published U-Net starts."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
