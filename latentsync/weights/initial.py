"""Where training starts: a new U-Net, or one with weights of ours, LatentSync, Stable Diffusion 1.5 or AnimateDiff."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.models.weight_files import mismatch, named
from latentsync.weights.adapter import read
from latentsync.weights.bundle import unet_in
from latentsync.weights.registry import find
from latentsync.weights.unet import LAYOUT_SETTINGS, POSITIONS, TEMPORAL, Fit, temporal_layers, unet_config

if TYPE_CHECKING:
    from latentsync.models.unet import UNet3DConditionModel

log = logging.getLogger(__name__)

# What does not fit from Stable Diffusion and is trained anew: more input channels, audio instead of text.
FROM_STABLE_DIFFUSION = ("conv_in.weight", "attn2.to_k.weight", "attn2.to_v.weight")


@dataclass(frozen=True)
class CarryOver:
    """Which keys carried over, which of the network start anew, and which of the file found no place."""

    carried: list[str]
    anew: list[str]
    unused: list[str]

    def __str__(self) -> str:
        text = f"{len(self.carried)} tensors carried over"
        if self.anew:
            text += f", {len(self.anew)} start anew ({summary(self.anew)})"
        if self.unused:
            text += f", {len(self.unused)} of the file unused ({summary(self.unused)})"
        return text


def summary(keys: list[str]) -> str:
    """Keys told by what they belong to, for a report of one line."""
    groups = {
        "temporal layers": [key for key in keys if TEMPORAL in key],
        "audio cross-attention k, v": [key for key in keys if key.endswith(FROM_STABLE_DIFFUSION[1:])],
    }
    rest = [key for key in keys if all(key not in members for members in groups.values())]
    parts = [f"{len(members)} in {name}" for name, members in groups.items() if members]
    return "; ".join([*parts, *([named(rest)] if rest else [])])


def build_unet(
    weights: str | Path | None = None,
    resolution: int | None = None,
    num_frames: int | None = None,
    new_resolution: bool = False,
    **config: Any,
) -> "UNet3DConditionModel":
    """A U-Net of this configuration, with the weights that training starts from.

    weights: None, a known name ("demo", "latentsync-1.5", "sd15-unet", "animatediff-sd15"), or a path: a published
    `.pt`, our folder, our `.ckpt`, an SD 1.5 U-Net folder, an AnimateDiff file. What carried over is logged.
    resolution, num_frames: kept in the U-Net's configuration, so that exported weights say what they are made for.
    new_resolution: allow weights made for another resolution, to go on training at this one.
    config: arguments of `UNet3DConditionModel`, published spelling. Raises UserError when the weights do not fit.
    """
    from latentsync.models.unet import UNet3DConditionModel

    unet = UNet3DConditionModel(**config, resolution=resolution)
    if num_frames is not None:
        unet.register_to_config(num_frames=num_frames)
    if weights is not None:
        report = initialise(unet, weights, None if new_resolution else resolution)
        log.info("U-Net from '%s': %s", weights, report)
    return unet


def initialise(unet: "UNet3DConditionModel", weights: str | Path, resolution: int | None = None) -> CarryOver:
    """Fill a U-Net from any of the sources of `build_unet`; returns what carried over.

    resolution: the wanted one, compared with what the weights say they are made for; None = not compared.
    """
    found = read(unet_in(find(weights)))
    config = found.told
    made_for = config.get("resolution")
    if resolution is not None and made_for is not None and int(made_for) != resolution:
        raise UserError(
            f"weights '{weights}': made for resolution {made_for}, the configuration says {resolution}; set "
            f"resolution={made_for}, or model.unet.new_resolution=true to go on training them at {resolution}"
        )
    heads, own_heads = config.get("attention_head_dim"), unet.config["attention_head_dim"]
    if heads is not None and heads != own_heads:  # no shape would tell
        raise UserError(
            f"weights '{weights}': trained with {heads} attention heads, the configuration says {own_heads}; set "
            f"model.unet.attention_head_dim={heads}"
        )
    if found.kind == "unet":
        if config.get("prediction_type") is not None:  # told to the module that will train them
            unet.register_to_config(prediction_type=config["prediction_type"])
        return carry_over(unet, found.state, str(weights), may_start_anew=())
    if found.kind == "sd-unet":
        return carry_over(unet, found.state, str(weights), may_start_anew=FROM_STABLE_DIFFUSION)
    if found.kind == "motion-modules":
        return carry_over_temporal(unet, found.state, str(weights))
    raise UserError(f"weights '{weights}': {found.kind} weights, not a U-Net's; give a U-Net or motion-module file")


def carry_over(unet: nn.Module, state: Mapping[str, Tensor], what: str, may_start_anew: tuple[str, ...]) -> CarryOver:
    """Everything of a U-Net's weights.

    Temporal layers that the file lacks and keys that end in `may_start_anew` start anew; raises UserError when anything
    else differs, for then the two networks are of another size or layout.
    """
    own = {key: value for key, value in unet.state_dict().items() if not key.endswith(POSITIONS)}
    given = {key: value for key, value in state.items() if not key.endswith(POSITIONS)}
    carried = {key: value for key, value in given.items() if key in own and value.shape == own[key].shape}
    anew = [key for key in own if key not in carried]
    excused = {key for key in anew if key.endswith(may_start_anew) or (TEMPORAL in key and key not in given)}
    complaint = mismatch(
        {key: tuple(value.shape) for key, value in own.items() if key not in excused},
        {key: value for key, value in given.items() if key not in excused},
    )
    if complaint:
        raise UserError(f"weights '{what}': do not fit the configured U-Net: {complaint}; {mend(given, unet)}")
    unet.load_state_dict({**unet.state_dict(), **carried})
    return CarryOver(list(carried), anew, [key for key in given if key not in carried])


def mend(state: Mapping[str, Tensor], unet: nn.Module) -> str:
    """Which of the two to change: the configuration that these weights fit."""
    told = unet_config(state)
    fit, own = Fit.of(told), temporal_layers(unet.state_dict())
    if fit.temporal not in (own, "none"):
        return f"change the configuration: {LAYOUT_SETTINGS[fit.temporal]}"
    return (
        f"change the configuration: block_out_channels={told['block_out_channels']} layers_per_block="
        f"{told['layers_per_block']} cross_attention_dim={fit.audio_width} in_channels={fit.in_channels}"
    )


def carry_over_temporal(unet: nn.Module, state: Mapping[str, Tensor], what: str) -> CarryOver:
    """The temporal layers alone, from an AnimateDiff motion-module file; the rest of the U-Net is left as it is."""
    own = {key: value for key, value in unet.state_dict().items() if TEMPORAL in key and not key.endswith(POSITIONS)}
    if not own:
        raise UserError(
            f"weights '{what}': motion modules, but the configured U-Net has none; set use_motion_module=true"
        )
    usable = {key: value for key, value in state.items() if key in own and value.shape == own[key].shape}
    if not usable:
        shapes = {key: tuple(value.shape) for key, value in own.items()}
        raise UserError(
            f"weights '{what}': none of its motion modules fits the configured U-Net: {mismatch(shapes, state)}"
        )
    unet.load_state_dict({**unet.state_dict(), **usable})
    unused = [key for key in state if key not in usable and not key.endswith(POSITIONS)]
    return CarryOver(list(usable), [key for key in own if key not in usable], unused)
