"""The sound of a written video, packet by packet as it stands in another file: nothing is decoded or encoded."""

from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from latentsync.errors import UserError
from latentsync.media.audio_streams import Track, choose_audio_stream, language
from latentsync.media.containers import open_media
from latentsync.media.time_zero import time_zero

# Decoders need the packets just before time 0 (AAC has up to 2112 samples of lead-in); players do not sound them.
_LEAD_IN_SECONDS = 0.1


class CopiedTrack:
    """A sound track copied into an open container; written up to a time, so that sound and pictures interleave.

    Time 0 is that of the file (see `time_zero`). Raises UserError, also from `write_until` and `finish`, for a file
    that cannot be read.
    """

    def __init__(self, container: OutputContainer, path: str | Path, track: Track = None) -> None:
        self._path, self._container = path, container
        self._source: InputContainer = open_media(path, "audio")
        source = choose_audio_stream(self._source, path, track)
        self._stream = container.add_stream_from_template(source)
        tag_language(self._stream, language(source))
        zero = time_zero(self._source, path, source)
        # The file's time of what is time 0 in the output.
        self._origin = float((source.start_time or 0) * (source.time_base or 0)) if zero is None else zero
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


def tag_language(stream: AudioStream, tag: str | None) -> None:
    """Store a language tag with a stream that is written."""
    if tag is not None:
        stream.metadata["language"] = tag
