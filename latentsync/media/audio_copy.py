"""The sound of a written video, packet by packet as it stands in another file: nothing is decoded or encoded."""

from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from latentsync.errors import UserError
from latentsync.media.audio import lead_seconds
from latentsync.media.containers import first_audio_stream, open_media

_PCM = frozenset({"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"})
_KEPT = {
    "mp4": frozenset({"aac", "mp3", "alac", "ac3", "eac3", "flac", "opus"}),
    "mov": frozenset({"aac", "mp3", "alac", "ac3", "eac3", "pcm_s16be", "pcm_s24be"}) | _PCM,
    "matroska": frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "flac", "opus", "vorbis", "alac"})
    | _PCM,
}
# Decoders need the packets just before time 0 (AAC has up to 2112 samples of lead-in); players do not sound them.
_LEAD_IN_SECONDS = 0.1


def can_copy(path: str | Path, container: str) -> bool:
    """Whether a file's first audio stream can stand in `container` ("mp4", "mov", "matroska") as it is.

    Raises UserError for a file that cannot be read or has no audio stream.
    """
    with open_media(path, "audio") as source:
        return first_audio_stream(source, path).codec_context.codec.canonical_name in _KEPT[container]


class CopiedTrack:
    """An audio stream copied into an open container; written up to a time, so that sound and pictures interleave.

    Time 0 is the first picture of `path` where it has some, else its first sample. Raises UserError, also from
    `write_until` and `finish`, for a file that cannot be read.
    """

    def __init__(self, container: OutputContainer, path: str | Path) -> None:
        self._path, self._container = path, container
        self._source: InputContainer = open_media(path, "audio")
        source = first_audio_stream(self._source, path)
        self._stream = container.add_stream_from_template(source)
        start = float((source.start_time or 0) * (source.time_base or 0))
        # The file's time of what is time 0 in the output.
        self._origin = start - lead_seconds(self._source)
        self._packets = self._source.demux(source)
        self._next: Packet | None = self._advance()

    def write_until(self, seconds: float) -> None:
        """Store the packets that begin before `seconds`."""
        while self._next is not None and self._time(self._next) < seconds:
            packet = self._next
            self._next = self._advance()
            assert packet.pts is not None
            assert packet.time_base is not None
            packet.pts -= round(self._origin / float(packet.time_base))
            packet.dts = packet.pts
            packet.stream = self._stream
            self._container.mux(packet)

    def finish(self, seconds: float) -> None:
        """Store the rest that begins before `seconds`; a shorter sound simply ends."""
        self.write_until(seconds)

    def close(self) -> None:
        """Stop reading."""
        self._source.close()

    def _advance(self) -> Packet | None:
        """The next packet that has samples and a time, and is not long before time 0."""
        try:
            for packet in self._packets:
                if packet.size and packet.pts is not None and self._time(packet) > -_LEAD_IN_SECONDS:
                    return packet
        except av.error.FFmpegError as error:
            raise UserError(f"audio '{self._path}': cannot be read to its end ({error}); give another file") from error
        return None

    def _time(self, packet: Packet) -> float:
        assert packet.pts is not None
        assert packet.time_base is not None
        return float(packet.pts * packet.time_base) - self._origin
