"""LatentSync's U-Net: Stable Diffusion 1.5's, inflated over time and conditioned on audio (arXiv 2412.09262, Sec. 3)."""

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.unet_blocks import ClipGroupNorm, DownBlock, LayerSettings, MidBlock, UpBlock

MOTION_DEFAULTS = {
    "num_attention_heads": 8,
    "num_transformer_block": 1,
    "attention_block_types": ["Temporal_Self", "Temporal_Self"],
    "temporal_position_encoding": True,
    "temporal_position_encoding_max_len": 24,
    "temporal_attention_dim_div": 1,
    "zero_initialize": True,
}
ONLY_VALUES = {
    "act_fn": "silu",
    "add_audio_layer": True,
    "center_input_sample": False,
    "mid_block_type": "UNetMidBlock3DCrossAttn",
    "mid_block_scale_factor": 1,
    "motion_module_mid_block": False,
    "motion_module_type": "Vanilla",
    "resnet_time_scale_shift": "default",
}


class UNet3DConditionModel(ModelMixin, ConfigMixin):
    """Predicts the noise in a clip's latents from audio, the masked clip and a reference clip.

    The constructor takes the published configuration's keys; those with one supported value (`ONLY_VALUES`) are there
    so that published configurations can be passed as they are, and any other value raises UserError.
    attention_head_dim: the number of heads (Stable Diffusion 1.5's name for it). cross_attention_dim: width of the
    audio tokens. motion_module_resolutions: downsampling factors (1, 2, 4, 8) at which temporal layers sit.
    resolution: side in pixels of the faces it was trained on, if known; kept in config.json, not used here.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(
        self,
        sample_size: int | None = None,
        in_channels: int = 13,
        out_channels: int = 4,
        block_out_channels: list[int] = [320, 640, 1280, 1280],  # noqa: B006  (diffusers stores it; nobody changes it)
        down_block_types: list[str] = [  # noqa: B006
            "CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D",
        ],  # fmt: skip
        up_block_types: list[str] = [  # noqa: B006
            "UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D",
        ],  # fmt: skip
        layers_per_block: int = 2,
        attention_head_dim: int = 8,
        cross_attention_dim: int = 384,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        downsample_padding: int = 1,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        use_motion_module: bool = True,
        motion_module_resolutions: list[int] = [1, 2, 4, 8],  # noqa: B006
        motion_module_decoder_only: bool = False,
        motion_module_kwargs: dict[str, Any] | None = None,
        resolution: int | None = None,
        **only_values: Any,
    ) -> None:
        super().__init__()
        _check_only_values(only_values)
        levels = len(block_out_channels)
        if not len(down_block_types) == len(up_block_types) == levels:
            raise UserError("U-Net: block_out_channels, down_block_types and up_block_types must be of one length")
        first, time_embedding_dim = block_out_channels[0], block_out_channels[0] * 4
        settings = LayerSettings(
            time_embedding_dim, norm_num_groups, norm_eps, attention_head_dim, cross_attention_dim, motion=None
        )
        motion = _motion_arguments(motion_module_kwargs, norm_num_groups) if use_motion_module else None

        self.conv_in = _zeroed(nn.Conv2d(in_channels, first, 3, padding=1))
        self.time_proj = Timesteps(first, flip_sin_to_cos, freq_shift)
        self.time_embedding = TimestepEmbedding(first, time_embedding_dim)

        self.down_blocks = nn.ModuleList()
        skips = [first]
        for level, (kind, width) in enumerate(zip(down_block_types, block_out_channels)):
            last = level == levels - 1
            here = motion if 2**level in motion_module_resolutions and not motion_module_decoder_only else None
            self.down_blocks.append(
                DownBlock(
                    skips[-1], width, layers_per_block, _has_attention(kind, "Down"),
                    None if last else downsample_padding, replace(settings, motion=here),
                )
            )  # fmt: skip
            skips += [width] * (layers_per_block + (not last))

        self.mid_block = MidBlock(block_out_channels[-1], settings)

        self.up_blocks = nn.ModuleList()
        before = block_out_channels[-1]
        for level, (kind, width) in enumerate(zip(up_block_types, reversed(block_out_channels))):
            here = motion if 2 ** (levels - 1 - level) in motion_module_resolutions else None
            taken = [skips.pop() for _ in range(layers_per_block + 1)]
            self.up_blocks.append(
                UpBlock(
                    before, width, taken, _has_attention(kind, "Up"), level < levels - 1, replace(settings, motion=here)
                )
            )
            before = width

        self.conv_norm_out = ClipGroupNorm(norm_num_groups, first, norm_eps)
        self.conv_out = _zeroed(nn.Conv2d(first, out_channels, 3, padding=1))

    def forward(self, sample: Tensor, timesteps: Tensor | int, encoder_hidden_states: Tensor) -> Tensor:
        """Predicted noise (B, 4, F, h, w).

        sample: (B, 13, F, h, w): noisy latents, mask, masked latents, reference latents; timesteps: (B,) or one number, in
        [0, 1000); encoder_hidden_states: audio tokens (B, F, L, D). Raises UserError for sizes that do not fit.
        """
        batch, channels, num_frames, height, width = sample.shape
        self._check(sample, encoder_hidden_states)
        timesteps = torch.as_tensor(timesteps, device=sample.device).expand(batch)
        time_embedding = self.time_embedding(self.time_proj(timesteps).to(self.dtype))
        time_embedding = time_embedding.repeat_interleave(num_frames, dim=0)  # (B·F, T)
        tokens = encoder_hidden_states.flatten(0, 1)  # (B·F, L, D)

        hidden_states = self.conv_in(sample.transpose(1, 2).reshape(-1, channels, height, width))
        skips = [hidden_states]
        for block in self.down_blocks:
            hidden_states, outputs = block(hidden_states, time_embedding, tokens, num_frames)
            skips += outputs
        hidden_states = self.mid_block(hidden_states, time_embedding, tokens, num_frames)
        for block in self.up_blocks:
            hidden_states = block(hidden_states, skips, time_embedding, tokens, num_frames)
        hidden_states = self.conv_out(F.silu(self.conv_norm_out(hidden_states, num_frames)))
        return hidden_states.unflatten(0, (batch, num_frames)).transpose(1, 2)

    def _check(self, sample: Tensor, tokens: Tensor) -> None:
        config, factor = self.config, 2 ** (len(self.down_blocks) - 1)
        if sample.shape[1] != config["in_channels"]:
            raise UserError(f"U-Net: {sample.shape[1]} input channels, but it takes {config['in_channels']}")
        if sample.shape[3] % factor or sample.shape[4] % factor:
            raise UserError(
                f"U-Net: latents of {sample.shape[3]} x {sample.shape[4]} cannot be halved {len(self.down_blocks) - 1} times; "
                f"choose a resolution divisible by {8 * factor}"
            )
        if tokens.shape[-1] != config["cross_attention_dim"] or tokens.shape[:2] != (sample.shape[0], sample.shape[2]):
            raise UserError(
                f"U-Net: audio tokens of shape {tuple(tokens.shape)}, wanted ({sample.shape[0]}, {sample.shape[2]}, L, "
                f"{config['cross_attention_dim']}); is this the audio encoder that the U-Net was trained with?"
            )


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _has_attention(kind: str, direction: str) -> bool:
    if kind not in (f"{direction}Block3D", f"CrossAttn{direction}Block3D"):
        raise UserError(f"U-Net: unknown block type '{kind}'; known: {direction}Block3D, CrossAttn{direction}Block3D")
    return kind.startswith("CrossAttn")


def _check_only_values(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if name not in ONLY_VALUES:
            raise UserError(f"U-Net: unknown configuration key '{name}'")
        if value != ONLY_VALUES[name]:
            raise UserError(f"U-Net: {name}={value!r} is not supported, only {ONLY_VALUES[name]!r}")


def _motion_arguments(given: dict[str, Any] | None, norm_num_groups: int) -> dict[str, Any]:
    settings = {**MOTION_DEFAULTS, **(given or {})}
    if unknown := settings.keys() - MOTION_DEFAULTS.keys():
        raise UserError(f"U-Net: unknown motion_module_kwargs key '{sorted(unknown)[0]}'")
    kinds = settings["attention_block_types"]
    if any(kind != "Temporal_Self" for kind in kinds):
        raise UserError(f"U-Net: attention_block_types={list(kinds)} is not supported, only Temporal_Self")
    if settings["temporal_attention_dim_div"] != 1 or not settings["temporal_position_encoding"]:
        raise UserError("U-Net: temporal layers without positions or with temporal_attention_dim_div other than 1 are not supported")
    return {
        "num_attention_heads": settings["num_attention_heads"],
        "num_transformer_block": settings["num_transformer_block"],
        "num_attentions": len(kinds),
        "norm_num_groups": norm_num_groups,
        "max_frames": settings["temporal_position_encoding_max_len"],
        "zero_initialize": settings["zero_initialize"],
    }
