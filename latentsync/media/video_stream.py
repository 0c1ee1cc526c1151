"""The video stream of a file to be written: codec, quality, colour tags, time base."""

from fractions import Fraction
from typing import Any, cast

from av.container import OutputContainer
from av.video.stream import VideoStream

from latentsync.media.picture import VideoLook

_ENCODERS = {"h264": "libx264", "hevc": "libx265"}


def add_video_stream(
    container: OutputContainer,
    look: VideoLook,
    codec: str = "h264",
    crf: int = 18,
    preset: str = "veryfast",
    gop: int | None = None,
    options: dict[str, str] | None = None,
) -> VideoStream:
    """Add a stream for pictures that look as `look` says.

    crf: 0 = lossless, larger is smaller and worse. gop: most frames between key frames, None: the encoder's choice.
    options: more of the encoder's own.
    """
    quality = {"preset": preset, **_quality(codec, crf), **(options or {})}
    stream = cast(VideoStream, container.add_stream(_ENCODERS[codec], rate=look.rate, options=quality))
    stream.width, stream.height = look.width, look.height
    stream.pix_fmt = look.pixel_format
    context: Any = stream.codec_context
    context.time_base = look.time_base
    context.colorspace, context.color_primaries, context.color_trc = look.matrix, look.primaries, look.transfer
    context.color_range = look.color_range
    if look.aspect not in (0, 1):
        context.sample_aspect_ratio = Fraction(look.aspect)
    if look.display_matrix is not None:
        stream.set_display_matrix(look.display_matrix)
    if codec == "hevc" and container.format.name != "matroska":
        context.codec_tag = "hvc1"  # what players of Apple's want
    if gop is not None:
        context.gop_size = gop
    return stream


def _quality(codec: str, crf: int) -> dict[str, str]:
    if codec == "hevc":
        lossless = ":lossless=1" if crf == 0 else ""
        return {"crf": str(crf), "x265-params": f"log-level=error{lossless}"}
    return {"qp": "0"} if crf == 0 else {"crf": str(crf)}
