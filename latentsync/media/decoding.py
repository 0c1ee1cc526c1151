"""Decoded frames of a stream, with the transparency that FFmpeg's own VP9 decoder leaves out."""

from collections.abc import Iterator
from typing import Any, cast

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream


def has_hidden_alpha(stream: VideoStream) -> bool:
    """Whether the stream has an alpha channel that its pixel format does not tell of (VP8 and VP9 in WebM)."""
    marks = {key.lower(): value for key, value in stream.metadata.items()}
    return marks.get("alpha_mode") == "1" and stream.codec_context.name in ("vp8", "vp9", "libvpx-vp9")


def decoded_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """All frames from where the container stands. Raises av.error.FFmpegError in the middle for damage."""
    if not has_hidden_alpha(stream):
        yield from container.decode(stream)
        return
    decoder = "libvpx" if stream.codec_context.name == "vp8" else "libvpx-vp9"
    context = cast(VideoCodecContext, av.CodecContext.create(decoder, "r"))
    for packet in container.demux(stream):
        for frame in context.decode(packet):
            cast(Any, frame).key_frame = packet.is_keyframe  # this decoder marks none
            yield frame
