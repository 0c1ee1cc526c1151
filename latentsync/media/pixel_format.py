"""Pixel formats: which planes pictures are worked on in, and which format of an encoder loses least of them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import av

# What the encoders of PyAV's wheels really open.
_OF_CODEC = {
    "h264": ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le"),
    "hevc": (
        "yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le",
        "yuv444p12le",
    ),
    "prores": ("yuv422p10le", "yuv444p10le", "yuva444p10le"),
    # libvpx is built without 10 and 12 bits there, its profiles 2 and 3.
    "vp9": ("yuv420p", "yuv422p", "yuv440p", "yuv444p", "yuva420p"),
    "av1": ("yuv420p", "yuv420p10le"),
}  # fmt: skip
_SAMPLINGS = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (0, 1): "440", (2, 0): "411", (2, 2): "410"}


@dataclass(frozen=True)
class PixelFormat:
    """What a pixel format keeps.

    narrower, lower: chroma is halved this often in width and in height. depth: bits of a sample.
    """

    name: str
    narrower: int
    lower: int
    depth: int
    alpha: bool
    rgb: bool
    grey: bool

    @property
    def largest(self) -> int:
        """The largest sample."""
        return (1 << self.depth) - 1

    @property
    def sampling(self) -> str:
        """Of chroma, as "4:2:0"."""
        return ":".join(_SAMPLINGS.get((self.narrower, self.lower), "444"))


@lru_cache
def pixel_format(name: str) -> PixelFormat:
    """What FFmpeg's format of this name keeps."""
    known: Any = av.VideoFormat(name)
    colours = [part for part in known.components if not part.is_alpha]
    palette = name == "pal8"
    return PixelFormat(
        name=name,
        # chroma_width rounds up, so 16 columns tell exactly.
        narrower=(16 // known.chroma_width(16)).bit_length() - 1,
        lower=(16 // known.chroma_height(16)).bit_length() - 1,
        depth=8 if palette else max(part.bits for part in colours),
        alpha=palette or len(colours) < len(known.components),
        rgb=palette or bool(known.is_rgb) or name.startswith(("xyz", "bayer")),
        grey=len(colours) == 1 and not palette,
    )


def working_format(name: str) -> str:
    """The planar YUV format that pictures of format `name` are worked on in; what it keeps is all that they have.

    Red, green and blue of 8 bits become 10 bits of 4:4:4, so that rounding loses nothing.
    """
    kind = pixel_format(name)
    if is_planar_yuv(name):
        return name
    sampling = "420" if kind.grey else _SAMPLINGS.get((kind.narrower, kind.lower), "444")
    depth = kind.depth
    if kind.rgb or (kind.alpha and kind.grey):
        sampling, depth = "444", min(12, depth + 2)
    family = "yuva" if kind.alpha else "yuv"
    choices = (8, 9, 10, 12, 14, 16)
    for bits in (bits for bits in choices if bits >= depth):
        wanted = f"{family}{sampling}p" + ("" if bits == 8 else f"{bits}le")
        if _exists(wanted):
            return wanted
    return f"{family}444p16le" if kind.alpha else "yuv444p16le"


def is_planar_yuv(name: str) -> bool:
    """Whether each of Y, U, V (and alpha) has a plane of its own, in samples of 8 bits or of 16 little-endian ones."""
    return name.startswith("yuv") and "p" in name and not name.endswith("be") and _exists(name)


def plain_name(name: str) -> str:
    """Without the mark of full range that some names have (yuvj420p)."""
    return name.replace("yuvj", "yuv")


def nearest_format(name: str, codec: str, keep_alpha: bool) -> str:
    """The format of `codec` that loses least of working format `name`, and adds least where several lose nothing."""
    kind = pixel_format(name)

    def cost(other: str) -> tuple[int, ...]:
        has = pixel_format(other)
        return (
            int(kind.alpha and keep_alpha and not has.alpha),
            max(0, has.narrower - kind.narrower) + max(0, has.lower - kind.lower),
            max(0, kind.depth - has.depth),
            int(has.alpha and not (kind.alpha and keep_alpha)),
            max(0, kind.narrower - has.narrower) + max(0, kind.lower - has.lower),
            max(0, has.depth - kind.depth),
        )

    return min(_OF_CODEC[codec], key=cost)


def keeps_alpha(codec: str, container: str) -> bool:
    """Whether transparency has a place; container: FFmpeg's name. VP9 stores it beside its frames."""
    return codec == "prores" or (codec == "vp9" and container in ("matroska", "webm"))


def losses(name: str, codec: str, container: str, wide: bool = False) -> list[str]:
    """What a file cannot keep of working format `name`, in words; 12 bits brought to 10 do not count as one.

    wide: the pictures are PQ, HLG or BT.2020, whose steps are larger on a screen.
    """
    kind = pixel_format(name)
    has = pixel_format(nearest_format(name, codec, keeps_alpha(codec, container)))
    lost = []
    if kind.alpha and not has.alpha:
        lost.append("transparency is left out (codec=prores to .mov or .mkv, or codec=vp9 to .mkv, keeps it)")
    if has.narrower > kind.narrower or has.lower > kind.lower:
        lost.append(f"chroma goes from {kind.sampling} to {has.sampling} (codec=hevc keeps it)")
    if has.depth < min(10, kind.depth):
        seen = ", which shows as 1 to 2 levels" if wide else ""
        lost.append(f"{kind.depth} bits become {has.depth}{seen} (codec=hevc keeps them)")
    return lost


def _exists(name: str) -> bool:
    try:
        av.VideoFormat(name)
    except ValueError:
        return False
    return True


def samples_as(kind: PixelFormat) -> str:
    """NumPy's name for the type of its samples."""
    return cast(str, "uint16" if kind.depth > 8 else "uint8")
