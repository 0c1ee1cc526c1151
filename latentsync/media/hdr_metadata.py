"""HDR10's static metadata: what the video was mastered on, and how bright it gets."""

import struct
from dataclasses import dataclass
from typing import Any, cast

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

_DYNAMIC = ("DYNAMIC_HDR_PLUS", "DOVI_RPU_BUFFER", "DOVI_METADATA", "DYNAMIC_HDR_VIVID")


@dataclass(frozen=True)
class HdrMetadata:
    """SMPTE ST 2086 and CTA-861.3.

    primaries: (x, y) of red, green, blue and white, in units of 0.00002; None: not told. luminance: (brightest,
    darkest) of the mastering display, in units of 0.0001 cd/m². light_level: brightest pixel and brightest frame on
    average, in cd/m².
    """

    primaries: tuple[tuple[int, int], ...] | None = None
    luminance: tuple[int, int] | None = None
    light_level: tuple[int, int] | None = None

    @property
    def peak(self) -> float | None:
        """Brightest light in cd/m², None where nothing sensible is told."""
        told = self.light_level[0] if self.light_level else 0
        brightest = told or (self.luminance[0] / 10_000 if self.luminance else 0)
        return float(brightest) if 100 <= brightest <= 10_000 else None

    @property
    def mastering(self) -> tuple[tuple[tuple[int, int], ...], tuple[int, int]] | None:
        """The mastering display, where all of it is told: encoders take it as a whole."""
        return (self.primaries, self.luminance) if self.primaries and self.luminance else None

    def mastering_text(self) -> str | None:
        """As x264 and x265 take it: G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min)."""
        if self.mastering is None:
            return None
        (red, green, blue, white), light = self.mastering
        parts = (("G", green), ("B", blue), ("R", red), ("WP", white), ("L", light))
        return "".join(f"{name}({x},{y})" for name, (x, y) in parts)

    def mastering_text_in_units(self) -> str | None:
        """As SVT-AV1 takes it: the same in units of 1 and of cd/m²."""
        if self.mastering is None:
            return None
        (red, green, blue, white), (most, least) = self.mastering
        parts = [
            f"{name}({x / 50_000:.5f},{y / 50_000:.5f})"
            for name, (x, y) in (("G", green), ("B", blue), ("R", red), ("WP", white))
        ]
        return "".join(parts) + f"L({most / 10_000:.4f},{least / 10_000:.4f})"


def hdr_metadata(frame: VideoFrame) -> HdrMetadata | None:
    """What a decoded frame tells; None: nothing."""
    data = cast(Any, frame.side_data)
    mastering, level = data.get(Type.MASTERING_DISPLAY_METADATA), data.get(Type.CONTENT_LIGHT_LEVEL)
    if mastering is None and level is None:
        return None
    primaries = luminance = light_level = None
    if mastering is not None:
        # struct AVMasteringDisplayMetadata: 10 rationals (red, green, blue, white, darkest, brightest) and two flags.
        *parts, has_primaries, has_luminance = struct.unpack("22i", bytes(mastering)[:88])
        values = [over / under if under else 0.0 for over, under in zip(parts[::2], parts[1::2])]
        if has_primaries:
            units = [round(value * 50_000) for value in values[:8]]
            primaries = tuple(zip(units[::2], units[1::2]))
        if has_luminance:
            luminance = (round(values[9] * 10_000), round(values[8] * 10_000))
    if level is not None:
        light_level = cast(tuple[int, int], struct.unpack("2I", bytes(level)[:8]))
    return HdrMetadata(primaries, luminance, light_level)


def mastering_peak(frame: VideoFrame) -> float | None:
    """Brightest light in cd/m² that a frame tells of, None: it does not."""
    told = hdr_metadata(frame)
    return None if told is None else told.peak


def has_dynamic_metadata(frame: VideoFrame) -> bool:
    """Whether the frame has HDR10+, Dolby Vision or the like, which describe a picture that will be changed."""
    return any(side.type.name in _DYNAMIC for side in cast(Any, frame.side_data))
