"""What the shapes of a U-Net's or SyncNet's weights tell of its configuration, in the published spelling."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from latentsync.errors import UserError

# The published U-Net's settings that no shape shows.
UNET_UNSEEN: dict[str, Any] = {
    "act_fn": "silu",
    "add_audio_layer": True,
    "attention_head_dim": 8,  # it is the number of heads
    "center_input_sample": False,
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock3DCrossAttn",
    "norm_eps": 1e-5,
    "norm_num_groups": 32,
    "sample_size": 64,
    "resnet_time_scale_shift": "default",
    "motion_module_resolutions": [1, 2, 4, 8],
    "motion_module_type": "Vanilla",
}
PE = "temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"


def temporal_layers(keys: Mapping[str, Any]) -> str:
    """Where a U-Net has temporal layers: "none", "decoder" or "all"."""
    down = any(key.startswith("down_blocks.") and ".motion_modules." in key for key in keys)
    up = any(key.startswith("up_blocks.") and ".motion_modules." in key for key in keys)
    return "all" if down else "decoder" if up else "none"


def count(state: Mapping[str, Tensor], pattern: str) -> int:
    """One more than the largest number that `pattern`'s group matches among the keys; 0 without a match."""
    numbers = [int(found[1]) for key in state if (found := re.match(pattern, key))]
    return max(numbers, default=-1) + 1


def unet_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The U-Net's configuration, published spelling: widths, depths, audio width and temporal layout from the shapes,
    and the published settings for what no shape shows. Raises UserError when the keys are not a U-Net's.
    """
    levels = count(state, r"down_blocks\.(\d+)\.")
    if levels == 0 or "conv_in.weight" not in state:
        raise UserError("these weights are not a LatentSync U-Net: no conv_in or no down_blocks")
    widths = [int(state[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0]) for i in range(levels)]
    attended = [f"down_blocks.{i}.attentions.0.norm.weight" in state for i in range(levels)]
    key = next((k for k in state if k.endswith("attn2.to_k.weight")), None)
    where = temporal_layers(state)
    config = {
        **UNET_UNSEEN,
        "in_channels": int(state["conv_in.weight"].shape[1]),
        "out_channels": int(state["conv_out.weight"].shape[0]),
        "block_out_channels": widths,
        "layers_per_block": count(state, r"down_blocks\.0\.resnets\.(\d+)\."),
        "down_block_types": ["CrossAttnDownBlock3D" if a else "DownBlock3D" for a in attended],
        "up_block_types": ["CrossAttnUpBlock3D" if a else "UpBlock3D" for a in reversed(attended)],
        "cross_attention_dim": int(state[key].shape[1]) if key else 384,
        "add_audio_layer": key is not None,
        "use_motion_module": where != "none",
        "motion_module_decoder_only": where == "decoder",
        "motion_module_mid_block": any(k.startswith("mid_block.motion_modules.") for k in state),
        "motion_module_kwargs": {},
    }
    if where != "none":
        config["motion_module_kwargs"] = motion_kwargs(state)
    return config


def motion_kwargs(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The temporal layers' settings, published spelling: depth, attentions a block and positions from the shapes."""
    prefix = next(k for k in state if k.endswith("temporal_transformer.proj_in.weight")).removesuffix("proj_in.weight")
    blocks = count(state, re.escape(prefix) + r"transformer_blocks\.(\d+)\.")
    attentions = count(state, re.escape(prefix) + r"transformer_blocks\.0\.attention_blocks\.(\d+)\.")
    positions = prefix.removesuffix("temporal_transformer.") + PE
    inner, width = state[prefix + "proj_in.weight"].shape
    return {
        "num_attention_heads": 8,
        "num_transformer_block": blocks,
        "attention_block_types": ["Temporal_Self"] * attentions,
        "temporal_position_encoding": True,
        "temporal_position_encoding_max_len": int(state[positions].shape[1]) if positions in state else 24,
        "temporal_attention_dim_div": int(width // inner),
        "zero_initialize": True,
    }


def syncnet_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """StableSyncNet's configuration {"audio_encoder", "visual_encoder"}, published spelling, from its shapes.

    Strides are not told by shapes: those of the published layouts are taken, where the number of blocks and the blocks
    without downsampling agree. Raises UserError for any other layout, and for other weights.
    """
    out = {}
    for part in ("audio_encoder", "visual_encoder"):
        if f"{part}.conv_in.weight" not in state:
            raise UserError("these weights are not a StableSyncNet: no audio_encoder.conv_in or visual_encoder.conv_in")
        blocks = syncnet_blocks(state, part)
        strides = [
            factors
            for factors in SYNCNET_FACTORS[part]
            if [factor != 1 for factor in factors] == [downsampled for _, downsampled, _ in blocks]
        ]
        if not strides:
            raise UserError(
                f"StableSyncNet: the {part} has {len(blocks)} blocks in no published layout, and shapes do not tell "
                "the strides; give its configuration: --config config.json"
            )
        out[part] = {
            "in_channels": int(state[f"{part}.conv_in.weight"].shape[1]),
            "block_out_channels": [width for width, _, _ in blocks],
            "downsample_factors": strides[0],
            "attn_blocks": [int(attended) for _, _, attended in blocks],
            "dropout": 0.0,
        }
    return out


def syncnet_blocks(state: Mapping[str, Tensor], part: str) -> list[tuple[int, bool, bool]]:
    """(width, is downsampled, is followed by attention) of each residual block of one encoder."""
    blocks: list[tuple[int, bool, bool]] = []
    for index in range(count(state, rf"{part}\.down_blocks\.(\d+)\.")):
        prefix = f"{part}.down_blocks.{index}"
        if f"{prefix}.conv1.weight" in state:
            width = int(state[f"{prefix}.conv1.weight"].shape[0])
            blocks.append((width, f"{prefix}.downsample_conv.weight" in state, False))
        elif blocks:  # an attention block belongs to the residual block before it
            blocks[-1] = (*blocks[-1][:2], True)
    return blocks


# (height, width) factors of the published layouts: 16 frames of pixels (with or without attention), and of latents.
SYNCNET_FACTORS: dict[str, list[list[Any]]] = {
    "audio_encoder": [[[2, 1], 2, 2, 1, 2, 2, [2, 3]], [[2, 1], 2, 2, 2, 2, [2, 3]]],
    "visual_encoder": [[[1, 2], 2, 2, 2, 2, 2, 2, 2], [2, 2, 2, 1, 2, 2]],
}
