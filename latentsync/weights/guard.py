"""The guard: weights are used only with the resolution, audio width and temporal layout that they were made for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latentsync.errors import UserError
from latentsync.weights.identify import layout_name

# Which settings make a layout, for the message.
LAYOUT_SETTINGS = {
    "none": "use_motion_module=false",
    "decoder": "use_motion_module=true motion_module_decoder_only=true",
    "all": "use_motion_module=true motion_module_decoder_only=false",
}


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
        return cls(
            audio_width=int(config["cross_attention_dim"]),
            in_channels=int(config["in_channels"]),
            temporal=layout_name(config),
            resolution=optional_int(config.get("resolution")),
            num_frames=optional_int(config.get("num_frames")),
        )

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


def optional_int(value: Any) -> int | None:
    """An integer, or None when it is not told."""
    return None if value is None else int(value)


def check_audio_width(fit: Fit, token_width: int, what: str) -> None:
    """Raise UserError when the audio encoder's tokens are not as wide as the U-Net's cross-attention."""
    if fit.audio_width != token_width:
        raise UserError(
            f"{what}: the U-Net was trained on audio tokens of width {fit.audio_width}, the audio encoder gives "
            f"{token_width}; change the audio encoder (Whisper tiny: 384, small: 768)"
        )
