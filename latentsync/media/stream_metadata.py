"""What a container tells of its pictures beside the codec: the part that is shown, how they were mastered.

PyAV lets an encoder say none of it. It does copy the description of a stream of another file; so a small file with
the same encoder's headers is made in memory, the boxes are put into it, and the stream is described after it.
"""

import io
import struct
from collections.abc import Callable
from typing import Any

import av
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from latentsync.media.hdr_metadata import HdrMetadata

# ISO/IEC 14496-12: the way to the description of a file's only track.
_WAY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_SAMPLE_FRAMES = 4  # with fewer, x265 leaves chance numbers for times
# Raw streams have start codes; containers want lengths, which they make only where they describe the stream themselves.
_WITH_LENGTHS = {"libx264": "x264-params", "libx265": "x265-params"}


class DescribedStream:
    """A stream described after another file's, and the encoder that fills it; it is used as PyAV's own."""

    def __init__(self, stream: VideoStream, context: VideoCodecContext) -> None:
        self._stream, self._context = stream, context

    def encode(self, frame: VideoFrame | None) -> list[Packet]:
        """Packets to be muxed; None: those that are left."""
        packets = self._context.encode(frame)
        for packet in packets:
            packet.stream = self._stream
        return packets


def described_stream(
    container: OutputContainer,
    encoder: str,
    set_up: Callable[[Any], None],
    blank: Callable[[int], VideoFrame],
    boxes: list[bytes],
) -> tuple[DescribedStream, VideoStream]:
    """Add a stream of `encoder` to a container, with `boxes` in its description.

    set_up: gives a codec context its settings. blank: a frame as it will be encoded, by its number. Returns what
    encodes, and the container's stream.
    """
    sample = with_boxes(_sample_file(encoder, set_up, blank), boxes)
    with av.open(io.BytesIO(sample)) as described:
        stream = container.add_stream_from_template(described.streams.video[0])
    context: Any = av.CodecContext.create(encoder, "w")
    set_up(context)
    key = _WITH_LENGTHS.get(encoder)
    if key is not None:
        context.options = {**context.options, key: ":".join(filter(None, (context.options.get(key), "annexb=0")))}
    context.flags |= Flags.global_header
    stream.time_base = context.time_base
    stream.codec_context.framerate = context.framerate
    return DescribedStream(stream, context), stream


def _sample_file(encoder: str, set_up: Callable[[Any], None], blank: Callable[[int], VideoFrame]) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mov" if encoder.startswith("prores") else "mp4") as container:
        stream: Any = container.add_stream(encoder)
        set_up(stream.codec_context)
        for number in range(_SAMPLE_FRAMES):
            container.mux(stream.encode(blank(number)))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def crop_box(width: int, height: int, coded_width: int, coded_height: int) -> bytes:
    """`clap`: of the coded picture, the upper left width × height pixels are shown."""
    # The middle of what is shown, measured from the middle of what is coded.
    right, down = width - coded_width, height - coded_height
    return _box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 2, down, 2))


def hdr_boxes(hdr: HdrMetadata) -> list[bytes]:
    """`mdcv` and `clli`, of what is known."""
    boxes = []
    if hdr.mastering is not None:
        (red, green, blue, white), light = hdr.mastering
        boxes.append(_box(b"mdcv", struct.pack(">8H2I", *green, *blue, *red, *white, *light)))
    if hdr.light_level is not None:
        boxes.append(_box(b"clli", struct.pack(">2H", *hdr.light_level)))
    return boxes


def with_boxes(file: bytes, boxes: list[bytes]) -> bytes:
    """An mp4 or mov whose index stands behind its pictures, with more boxes in the description of its first track."""
    parents, start = [], 0
    for name in _WAY:
        start = _find(file, name, start)
        parents.append(start)
        start += 16 if name == b"stsd" else 8  # beside its size and name, stsd has a version and a count
    parents.append(start)
    more, end = b"".join(boxes), start + _size(file, start)
    longer = bytearray(file[:end] + more + file[end:])
    for place in parents:
        longer[place : place + 4] = struct.pack(">I", _size(file, place) + len(more))
    return bytes(longer)


def _find(file: bytes, name: bytes, start: int) -> int:
    while start + 8 <= len(file):
        if file[start + 4 : start + 8] == name:
            return start
        start += max(8, _size(file, start))
    raise ValueError(f"no box {name!r}")


def _size(file: bytes, place: int) -> int:
    return int.from_bytes(file[place : place + 4], "big")


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content
