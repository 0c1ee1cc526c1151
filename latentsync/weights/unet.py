"""The adapter of the U-Net: LatentSync's of every version and Stable Diffusion's, and what weights are made for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.weight_files import load_strict
from latentsync.weights.adapter import Adapter, Content, State, Weights, state_of

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
BESIDE = (
    "num_frames",
    "prediction_type",
    "global_step",
)  # what we write into config.json beside the network's arguments
TEMPORAL, POSITIONS = ".motion_modules.", ".pos_encoder.pe"  # the second: a fixed table, not trained
V1_AUDIO = (".audio_cross_attn.norm.", ".audio_cross_attn.attn.")  # in LatentSync 1.0, for …
AUDIO = (".norm2.", ".attn2.")  # … these
# Which settings make a temporal layout, for messages.
LAYOUT_SETTINGS = {
    "none": "use_motion_module=false",
    "decoder": "use_motion_module=true motion_module_decoder_only=true",
    "all": "use_motion_module=true motion_module_decoder_only=false",
}
PE = "temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"


class UNetAdapter(Adapter):
    """LatentSync's U-Net. A published file of version 1.0 names its audio attention differently."""

    kind, what = "unet", "LatentSync U-Net"
    class_name: str | None = "UNet3DConditionModel"

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        return "time_embedding.linear_1.weight" in state and "conv_in.weight" in state and "conv_out.weight" in state

    def notes(self, state: State) -> list[str]:
        config = unet_config(self.from_published(state))
        layers = {"none": "none", "decoder": "in the decoder only", "all": "in encoder and decoder"}
        return [
            f"input channels {config['in_channels']}, widths {config['block_out_channels']}, "
            f"audio width {config['cross_attention_dim']}",
            f"temporal layers {layers[temporal_layers(state)]}",
            f"fits {fitting_experiment(config)}",
            *(["LatentSync 1.0's names: made for 256 px"] if any(V1_AUDIO[1] in key for key in state) else []),
            "not told by shapes: the resolution, the number of heads (8 is taken), which Whisper and autoencoder",
        ]

    def config(self, content: Content) -> dict[str, Any]:
        return unet_config(self.from_published(content))

    def network(self, config: Mapping[str, Any]) -> nn.Module:
        from latentsync.models.unet import UNet3DConditionModel

        return UNet3DConditionModel(**arguments(config))

    def load(self, weights: Weights, config: Mapping[str, Any] | None = None) -> nn.Module:
        """Position tables, which are fixed and which not every file holds, are computed when the file has none."""
        settings = weights.config() if config is None else config
        with torch.device("meta"):
            expected = self.network(settings).state_dict()
        absent = [key for key in expected if key.endswith(POSITIONS) and key not in weights.state]
        if not absent:
            unet = super().load(weights, settings)
        else:
            unet = self.network(settings)
            own = unet.state_dict()
            load_strict(unet, {**{key: own[key] for key in absent}, **weights.state}, f"weights '{weights.path}'")
        beside: Any = {name: weights.told[name] for name in BESIDE if weights.told.get(name) is not None}
        unet.register_to_config(**beside)  # type: ignore[operator]
        return unet

    def from_published(self, content: Content) -> State:
        return {renamed(key, V1_AUDIO, AUDIO): value for key, value in state_of(content).items()}

    def to_published(self, state: Mapping[str, Tensor], global_step: int, version: str | None = None) -> dict[str, Any]:
        """version: "1.0" for its names. Raises UserError for temporal layers there, which it does not have."""
        if version == "1.0":
            if temporal_layers(state) != "none":
                raise UserError("export: LatentSync 1.0 has no temporal layers, these weights have")
            state = {renamed(key, AUDIO, V1_AUDIO): value for key, value in state.items()}
        return {"global_step": global_step, "state_dict": dict(state)}


class StableDiffusionUNet(UNetAdapter):
    """Stable Diffusion's own: an initialisation."""

    kind, what, class_name = "sd-unet", "Stable Diffusion U-Net", None

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        return super().recognises(state) and state["conv_in.weight"].shape[1] in (4, 9)

    def notes(self, state: State) -> list[str]:
        channels = state["conv_in.weight"].shape[1]
        return [f"Stable Diffusion's U-Net ({channels} input channels): an initialisation for stage 1"]


@dataclass(frozen=True)
class Fit:
    """What a U-Net's weights are made for; None = not told (published files do not say their resolution).

    resolution: side of the face crop in pixels; num_frames: frames in a window; audio_width: of one audio token;
    in_channels: of the U-Net; temporal: "none", "decoder" or "all".
    """

    audio_width: int
    in_channels: int
    temporal: str
    resolution: int | None = None
    num_frames: int | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Fit":
        """From a U-Net configuration, published spelling; `resolution` and `num_frames` where we wrote it."""
        told = {name: int(config[name]) for name in ("resolution", "num_frames") if config.get(name) is not None}
        return cls(int(config["cross_attention_dim"]), int(config["in_channels"]), layout_name(config), **told)

    def as_metadata(self) -> dict[str, str]:
        """For a safetensors header: strings only, what is not told left out."""
        values = {
            "resolution": self.resolution,
            "num_frames": self.num_frames,
            "audio_width": self.audio_width,
            "in_channels": self.in_channels,
            "temporal_layers": self.temporal,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


def renamed(key: str, old: tuple[str, ...], new: tuple[str, ...]) -> str:
    """A key with the first of `old` that it contains replaced by its partner in `new`."""
    return next((key.replace(one, other) for one, other in zip(old, new) if one in key), key)


def arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration the U-Net's constructor takes."""
    return {name: value for name, value in config.items() if not name.startswith("_") and name not in BESIDE}


def layout_name(config: Mapping[str, Any]) -> str:
    """ "none", "decoder" or "all": where a configuration puts temporal layers."""
    if not config.get("use_motion_module"):
        return "none"
    return "decoder" if config.get("motion_module_decoder_only") else "all"


def fitting_experiment(config: Mapping[str, Any]) -> str:
    """The experiment whose network has these shapes, by name, or its settings when it is not of the published size."""
    name = {"none": "stage1", "decoder": "stage2_efficient", "all": "stage2"}[layout_name(config)]
    if list(config["block_out_channels"]) == [320, 640, 1280, 1280] and config["layers_per_block"] == 2:
        larger = "" if name == "stage2_efficient" else f" or {name}_512 (the same network)"
        return f"experiment={name}{larger}"
    return f"no published size; the temporal layout of {name}"


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
