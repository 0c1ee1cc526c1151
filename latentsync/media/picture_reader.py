"""Pictures of a video forwards and backwards, with their own time stamps, in bounded memory."""

import logging
from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from latentsync.errors import UserError
from latentsync.media.color import container_tags
from latentsync.media.containers import first_video_stream, open_media
from latentsync.media.decoding import decoded_frames
from latentsync.media.fields import deinterlaced
from latentsync.media.picture import Picture, VideoLook
from latentsync.media.picture_maker import PictureMaker
from latentsync.media.picture_stamps import PictureStamps
from latentsync.media.pixel_format import pixel_format

_FRAMES_AT_LEAST = 16
_BUSIEST_RATE = 1000

_log = logging.getLogger(__name__)


class PictureReader:
    """The pictures of one video file.

    keep_readable: a file that cannot be decoded to its end, or is cut off, ends where it becomes unreadable (with a
    warning); otherwise it is refused. Between runs only 17 bytes a picture are kept. deinterlace: interlaced pictures
    are made whole. sdr: PQ, HLG and BT.2020 are brought to BT.709.
    """

    def __init__(
        self, path: str | Path, keep_readable: bool = False, deinterlace: bool = False, sdr: bool = False
    ) -> None:
        self.path, self.keep_readable = Path(path), keep_readable
        self._deinterlace, self._sdr = deinterlace, sdr
        self._stamps, self._durations, self._keys = array("q"), array("q"), bytearray()
        self._seekable = True
        self._maker: PictureMaker | None = None

    def __len__(self) -> int:
        """How many pictures the first run forwards has met so far."""
        return len(self._stamps)

    def forwards(self) -> Iterator[Picture]:
        """All pictures in the order shown. A stamp that does not grow is put one tick after the one before it.

        Raises UserError, when iterated, for a missing or unreadable file, one without pictures, and one that is cut
        off or cannot be decoded in the middle (with the time of the last good picture).
        """
        for count, picture in enumerate(self._with_durations()):
            if count == len(self._stamps):
                self._stamps.append(picture.pts)
                self._durations.append(picture.duration)
                self._keys.append(picture.key)
            yield picture

    def backwards(self, buffer_bytes: int) -> Iterator[Picture]:
        """All pictures that `forwards` has met, last to first, each with the stamp it has there.

        Decodes in stretches from the last key picture before each, so the work grows with the length alone; at most
        about `buffer_bytes` of pictures (16 at least) are held.
        """
        if self._maker is None:
            raise RuntimeError("backwards before forwards")
        look = self._maker.look
        limit = max(_FRAMES_AT_LEAST, buffer_bytes // _bytes_of(look))
        stop = len(self)
        while stop > 0:
            key = self._keys.rfind(1, 0, stop)
            start = max(0, key, stop - limit)
            pictures = self._stretch(start, stop)
            while pictures:
                yield pictures.pop()
            stop = start

    def _stretch(self, start: int, stop: int) -> list[Picture]:
        """Pictures start … stop − 1, from the nearest key picture that a seek really reaches."""
        wanted = {self._stamps[number]: number for number in range(start, stop)}
        key = self._keys.rfind(1, 0, start + 1) if self._seekable else -1
        while True:
            found = list(self._decoded(wanted, self._stamps[key] if key > 0 else None))
            if len(found) == stop - start:
                return found
            if key <= 0:
                raise UserError(f"input '{self.path}': gave other pictures when read again; re-encode it")
            key = self._keys.rfind(1, 0, key)  # the seek came out too late, or to a picture that is no clean start

    def _decoded(self, wanted: dict[int, int], seek_to: int | None) -> Iterator[Picture]:
        """The wanted pictures by stamp; by number where the stream cannot be sought."""
        assert self._maker is not None
        first, last = min(wanted.values()), max(wanted.values())
        with open_media(self.path, "input", self.keep_readable) as container:
            stream, stamps = _video_stream(container, self.path), PictureStamps(container)
            if seek_to is not None:
                container.seek(seek_to + self._origin, stream=stream)
            for count, frame in enumerate(self._frames(container, stream)):
                if seek_to is None:
                    number = count if first <= count <= last else None
                else:
                    stamp = stamps(frame)
                    number = None if stamp is None else wanted.get(stamp - self._origin)
                if number is not None:
                    yield self._maker(frame, self._stamps[number], self._durations[number], bool(self._keys[number]))
                if number == last:
                    return

    def _with_durations(self) -> Iterator[Picture]:
        """Pictures, each given out when the next one tells how long it stood."""
        shown: Picture | None = None
        with open_media(self.path, "input", self.keep_readable) as container:
            stream, stamps = _video_stream(container, self.path), PictureStamps(container)
            tags = container_tags(stream.codec_context)
            self._seekable = not stamps.by_packet  # the last pictures come out without a packet
            base = stream.time_base or Fraction(1, 90000)
            rate = _rate(stream)
            step = max(1, round(1 / (rate * base)))
            self._origin = 0
            for frame in self._frames(container, stream):
                if shown is None:
                    self._origin = stamps(frame) or 0
                    self._maker = PictureMaker(frame, base, rate, stream.sample_aspect_ratio, tags, self._sdr)
                assert self._maker is not None
                if not self._maker.fits(frame):
                    raise UserError(f"input '{self.path}': its pictures change their size; re-encode it to one size")
                pts = self._stamp(stamps(frame), shown, step)
                if shown is not None:
                    shown.duration = pts - shown.pts
                    yield shown
                shown = self._maker(frame, pts, shown.duration if shown else step, bool(frame.key_frame))
        if shown is None:
            raise UserError(f"input '{self.path}': holds no picture that can be decoded; give another file")
        shown.duration = min(shown.duration, 10 * step)  # nothing tells how long the last one stands
        yield shown

    def _stamp(self, stamp: int | None, shown: Picture | None, step: int) -> int:
        if stamp is None:
            self._seekable = False
            return 0 if shown is None else shown.pts + step
        pts = stamp - self._origin
        if shown is not None and pts <= shown.pts:
            self._seekable = False
            return shown.pts + 1
        return pts

    def _frames(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        frames = self._decoded_frames(container, stream)
        if self._deinterlace:
            return deinterlaced(frames, stream.time_base or Fraction(1, 90000))
        return frames

    def _decoded_frames(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        last = 0.0
        try:
            for frame in decoded_frames(container, stream):
                yield frame
                last = frame.time or last
        except av.error.FFmpegError as error:
            if not self.keep_readable:
                raise UserError(
                    f"input '{self.path}': cannot be decoded after {last:.2f} s ({error}); re-encode or cut the file, "
                    "or take what is readable with keep_readable=true"
                ) from error
            _log.warning("input '%s': cannot be decoded after %.2f s; the rest is left out", self.path, last)


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    stream = first_video_stream(container, path)
    stream.thread_type = "AUTO"
    return stream


def _bytes_of(look: VideoLook) -> int:
    """Of one picture in memory."""
    kind = pixel_format(look.pixel_format)
    samples = 1 + 2 / (1 << (kind.narrower + kind.lower)) + kind.alpha
    return int(look.width * look.height * samples * (2 if kind.depth > 8 else 1))


def _rate(stream: VideoStream) -> Fraction:
    """Mean frames a second, of which absurd ones in damaged headers count as 25."""
    rate = cast(Any, stream.average_rate or stream.guessed_rate)
    return Fraction(rate) if rate and 0 < rate <= _BUSIEST_RATE else Fraction(25)
