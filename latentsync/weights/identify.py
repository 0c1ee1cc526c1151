"""What a weights file is: which network, how large, how it was trained to be used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from latentsync.errors import UserError
from latentsync.weights.layout import temporal_layers, unet_config
from latentsync.weights.load import state_of


@dataclass(frozen=True)
class Identity:
    """What was recognised.

    kind: short name of the network, or "unknown"; state: its key → tensor table; notes: what else is worth saying.
    """

    kind: str
    state: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Numbers held by the file, buffers included."""
        return sum(value.numel() for value in self.state.values())


def is_unet(keys: Mapping[str, Any]) -> bool:
    """Whether these keys are a whole U-Net's, Stable Diffusion's or ours."""
    return "time_embedding.linear_1.weight" in keys and "conv_in.weight" in keys and "conv_out.weight" in keys


# In order: the first whose test holds names the file.
KINDS: tuple[tuple[str, Callable[[Mapping[str, Any]], bool]], ...] = (
    ("unet", is_unet),
    ("stable-syncnet", lambda keys: "audio_encoder.conv_in.weight" in keys and "visual_encoder.conv_in.weight" in keys),
    ("whisper-openai", lambda keys: "encoder.positional_embedding" in keys and "encoder.conv1.weight" in keys),
    ("whisper-transformers", lambda keys: any(k.endswith("embed_positions.weight") for k in keys)),
    ("videomae-v2", lambda keys: "blocks.0.attn.qkv.weight" in keys and "patch_embed.proj.weight" in keys),
    ("videomae-transformers", lambda keys: any(k.endswith("patch_embeddings.projection.weight") for k in keys)),
    ("syncnet-v2", lambda keys: any(k.endswith("netcnnaud.0.weight") for k in keys)),
    ("autoencoder", lambda keys: "encoder.conv_in.weight" in keys and "decoder.conv_in.weight" in keys),
    ("motion-modules", lambda keys: bool(keys) and all("motion_modules." in k for k in keys)),
    ("lpips-backbone", lambda keys: bool(keys) and all(k.startswith("features.") for k in keys)),
)


def identify(content: Mapping[str, Any]) -> Identity:
    """Name the content of a file as `load_state` returned it."""
    if "pytorch-lightning_version" in content:
        return identify_checkpoint(content)
    state = state_of(content)
    kind = next((name for name, test in KINDS if test(state)), "unknown")
    notes = []
    if "global_step" in content:
        notes.append(f"trained {int(content['global_step']):,} steps")
    if kind == "unet":
        kind, more = unet_notes(state)
        notes += more
    return Identity(kind, state, notes)


def unet_notes(state: Mapping[str, Tensor]) -> tuple[str, list[str]]:
    """Which U-Net it is, and what to say of it: Stable Diffusion's (an initialisation) or ours."""
    config = unet_config(state)
    channels, width = config["in_channels"], config["cross_attention_dim"]
    if channels in (4, 9):
        return "sd-unet", [f"Stable Diffusion's U-Net ({channels} input channels): an initialisation for stage 1"]
    layers = {"none": "none", "decoder": "in the decoder only", "all": "in encoder and decoder"}[temporal_layers(state)]
    return "unet", [
        f"input channels {channels}, widths {config['block_out_channels']}, audio width {width}",
        f"temporal layers {layers}",
        f"fits {fitting_experiment(config)}",
        "not told by shapes: the resolution, the number of heads (8 is taken), which Whisper and autoencoder it heard",
    ]


def fitting_experiment(config: Mapping[str, Any]) -> str:
    """The experiment whose network has these shapes, by name, or its settings when it is not of the published size."""
    name = {"none": "stage1", "decoder": "stage2_efficient", "all": "stage2"}[layout_name(config)]
    if list(config["block_out_channels"]) == [320, 640, 1280, 1280] and config["layers_per_block"] == 2:
        larger = "" if name == "stage2_efficient" else f" or {name}_512 (the same network)"
        return f"experiment={name}{larger}"
    return f"no published size; the temporal layout of {name}"


def layout_name(config: Mapping[str, Any]) -> str:
    """ "none", "decoder" or "all": where a configuration puts temporal layers."""
    if not config.get("use_motion_module"):
        return "none"
    return "decoder" if config.get("motion_module_decoder_only") else "all"


def identify_checkpoint(content: Mapping[str, Any]) -> Identity:
    """A Lightning checkpoint: its largest known part, and which parts there are."""
    state = state_of(content)
    parts = sorted({key.split(".")[0] for key in state})
    notes = [f"Lightning checkpoint, step {int(content.get('global_step', 0)):,}, parts: {', '.join(parts)}"]
    if "unet" in parts:
        unet = part_of(state, "unet")
        return Identity("checkpoint", unet, notes + unet_notes(unet)[1])
    return Identity("checkpoint", state, notes)


def part_of(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The weights under one prefix, the prefix taken off. Raises UserError when there are none."""
    found = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
    if not found:
        parts = sorted({key.split(".")[0] for key in state})
        raise UserError(f"the checkpoint holds no '{part}'; its parts are {', '.join(parts)}")
    return found
