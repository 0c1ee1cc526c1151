"""The adapter of StableSyncNet: of LatentSync 1.0 (no attention), 1.5 and 1.6, on pixels or latents."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.weights.adapter import Adapter, Content, State, Weights, read, state_of
from latentsync.weights.registry import find
from latentsync.weights.unet import count

if TYPE_CHECKING:
    from latentsync.models.syncnet import StableSyncNet

VERSION = "_latentsync_version"  # in config.json: of whose published file the folder was made, where it matters
# (height, width) factors of the published layouts: 16 frames of pixels (with or without attention), and of latents.
SYNCNET_FACTORS: dict[str, list[list[Any]]] = {
    "audio_encoder": [[[2, 1], 2, 2, 1, 2, 2, [2, 3]], [[2, 1], 2, 2, 2, 2, [2, 3]]],
    "visual_encoder": [[[1, 2], 2, 2, 2, 2, 2, 2, 2], [2, 2, 2, 1, 2, 2]],
}


class WrongVersion(UserError):
    """A SyncNet of LatentSync 1.0 where a later one is needed."""


class SyncNetAdapter(Adapter):
    """StableSyncNet; a published file holds its (empty) loss lists besides."""

    kind, what, class_name = "stable-syncnet", "StableSyncNet", "StableSyncNet"

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        return "audio_encoder.conv_in.weight" in state and "visual_encoder.conv_in.weight" in state

    def notes(self, state: State) -> list[str]:
        return ["no attention, 16 frames of pixels: the layout of LatentSync 1.0's"] if has_layout_of_1_0(state) else []

    def config(self, content: Content) -> dict[str, Any]:
        """Of a published file (ours are folders) with LatentSync 1.0's layout it also says that version."""
        state = state_of(content)
        is_1_0 = isinstance(content.get("state_dict"), Mapping) and has_layout_of_1_0(state)
        return {**syncnet_config(state), **({VERSION: "1.0"} if is_1_0 else {})}

    def load(self, weights: Weights, config: Mapping[str, Any] | None = None) -> nn.Module:
        settings = weights.config() if config is None else config
        network: Any = super().load(weights, settings)
        network.register_to_config(**{name: value for name, value in settings.items() if name == VERSION})
        return network

    def network(self, config: Mapping[str, Any]) -> nn.Module:
        from latentsync.models.syncnet import StableSyncNet

        return StableSyncNet(**{n: v for n, v in config.items() if not n.startswith("_") and n != "global_step"})

    def to_published(self, state: Mapping[str, Tensor], global_step: int) -> dict[str, Any]:
        lists: dict[str, Any] = {f"{part}_{kind}_list": [] for part in ("train", "val") for kind in ("step", "loss")}
        return {"global_step": global_step, "state_dict": dict(state), **lists}


def load_syncnet(
    path: Path | str, config: Mapping[str, Any] | None = None, version: str | float = "1.5"
) -> "StableSyncNet":
    """StableSyncNet of a known name, a published `.pt`, our folder or our training checkpoint.

    config: {"audio_encoder", "visual_encoder"} in the published spelling; None = the folder's, or what the shapes tell.
    version: "1.0" takes LatentSync 1.0's, which is refused otherwise: it listens less well, and no error would tell.
    Raises UserError.
    """
    weights = read(find(path, "SyncNet"))
    if weights.kind != "stable-syncnet":
        raise UserError(f"SyncNet '{path}': {weights.kind} weights, not a StableSyncNet's")
    settings = config or weights.told or weights.config()
    if str(version) != "1.0" and settings.get(VERSION) == "1.0":
        raise WrongVersion(
            f"SyncNet '{path}': LatentSync 1.0's, by its shapes (no attention); one of 1.5 or 1.6 is needed: `python "
            "-m latentsync.weights fetch stable-syncnet`, or give version=1.0 to use it knowingly"
        )
    network: Any = weights.adapter.load(weights, settings)
    return network


def has_layout_of_1_0(state: Mapping[str, Tensor]) -> bool:
    """Whether a StableSyncNet looks at 16 frames of pixels by 8 blocks, none of which has attention."""
    blocks = syncnet_blocks(state, "visual_encoder")
    pixels = state["visual_encoder.conv_in.weight"].shape[1] == 3 * 16
    return pixels and len(blocks) == len(SYNCNET_FACTORS["visual_encoder"][0]) and not any(a for _, _, a in blocks)


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
