"""Pictures to video files with sound: a streaming writer, and clips as bytes for shards."""

import errno
import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from latentsync.errors import UserError
from latentsync.media.audio_copy import CopiedTrack
from latentsync.media.audio_streams import Track
from latentsync.media.audio_track import AudioTrack, Sound, file_sound, wave_sound
from latentsync.media.color import YuvMaker
from latentsync.media.copy_trial import why_not_copied
from latentsync.media.frame_fitter import FrameFitter
from latentsync.media.picture import VideoLook
from latentsync.media.stream_metadata import DescribedStream
from latentsync.media.video_stream import CONTAINERS, add_video_stream
from latentsync.work.files import hidden_name

# Sound is written this far ahead of the pictures, so that the muxer need not hold packets back.
_AUDIO_LEAD_SECONDS = 0.5
_TOO_FEW_TO_REORDER = 2
# What another folder, or more room, would mend; everything else is the encoder's or the container's refusal.
_OF_THE_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENOENT}
)

_log = logging.getLogger(__name__)


class VideoWriter:
    """Write pictures, one at a time, to a video file with sound; a context manager.

    path: .mp4, .m4v, .mov or .mkv in a folder that exists. width, height: of the pictures, in pixels, as stored.
    fps: frames a second. codec: "h264", "hevc", "prores", "vp9" or "av1"; crf: 0 = lossless, larger is smaller; preset:
    x264's name of a speed; gop: most frames between key frames, None for the encoder's own choice. look: pixel format,
    colour tags, rotation and time base of what `write_frame` is given; None: yuv420p, BT.709, 1 / fps, as `write` needs
    it. Odd sizes grow by one repeated column or row where the codec asks for it.
    Sound, at most one of: audio = (float32 (N,) mono in [-1, 1], rate in Hz), or audio_from = a file whose sound
    (audio_track: a number or language, None: its default track) is stored as it is where the container takes it and
    it has no gaps, else as AAC at its own rate and channels, with silence in the gaps; it keeps its language tag.
    audio_seamless: see `SoundSurvey`; None: found out here. It is cut to `audio_seconds`, and what is encoded is filled
    up with silence; None: to the frames' duration.

    The file appears under its name only after a clean exit; after any exception nothing is left.
    Raises UserError for a folder that does not exist, an unknown suffix, an `audio_from` without sound, a full disk.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        fps: Fraction | float | int,
        crf: int = 18,
        preset: str = "veryfast",
        gop: int | None = None,
        audio: tuple[np.ndarray, int] | None = None,
        audio_from: str | Path | None = None,
        audio_seconds: float | None = None,
        codec: str = "h264",
        look: VideoLook | None = None,
        audio_track: Track = None,
        audio_seamless: bool | None = None,
    ) -> None:
        if audio is not None and audio_from is not None:
            raise ValueError("give audio or audio_from, not both")
        self.path = Path(path)
        self.width, self.height = width, height
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.num_frames, self.seconds = 0, 0.0
        self.look = look or VideoLook(width, height, time_base=1 / self.fps, rate=self.fps)
        self._encoding = (codec, crf, preset, gop)
        self._audio_seconds, self._audio_from, self._audio_track = audio_seconds, audio_from, audio_track
        self._check_target()
        self._kind = CONTAINERS[self.path.suffix.lower()]
        self._fit = FrameFitter(self.look, codec, self._kind)
        self._sound: Sound | None = None  # what is encoded; without it, the track of `audio_from` is copied
        if audio is not None:
            self._sound = wave_sound(*audio)
        elif audio_from is not None and (why := why_not_copied(audio_from, self._kind, audio_track, audio_seamless)):
            _log.info("audio '%s' is stored as AAC: %s", audio_from, why)
            self._sound = file_sound(audio_from, audio_track)
        self._partial = hidden_name(self.path)
        self._yuv = YuvMaker()
        self._container: OutputContainer | None = None
        self._track: AudioTrack | CopiedTrack | None = None

    def _check_target(self) -> None:
        if self.path.suffix.lower() not in CONTAINERS:
            known = ", ".join(CONTAINERS)
            raise UserError(f"output '{self.path}': cannot write '{self.path.suffix}' files; use one of {known}")
        if not self.path.parent.is_dir():
            raise UserError(f"output '{self.path}': folder '{self.path.parent}' does not exist; create it first")
        if self.path.is_dir():
            raise UserError(f"output '{self.path}': is a folder; give a file name")

    def __enter__(self) -> "VideoWriter":
        # +faststart: the index goes to the front, so that a browser plays it before it has all of it.
        options = {} if self._kind == "matroska" else {"movflags": "+faststart"}
        try:
            with self._writing():
                self._partial.touch(exist_ok=False)  # FFmpeg would only notice at the first packet
                self._container = av.open(str(self._partial), "w", format=self._kind, options=options)
                codec, crf, preset, gop = self._encoding
                self._stream = add_video_stream(self._container, self.look, codec, crf, preset, gop)
                if self._sound is not None:
                    self._track = AudioTrack(self._container, self._sound)
                elif self._audio_from is not None:
                    self._track = CopiedTrack(self._container, self._audio_from, self._audio_track)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (height, width, 3) uint8 RGB, one 1 / fps after the one before it."""
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise ValueError(f"frame must be ({self.height}, {self.width}, 3) uint8, not {frame.shape} {frame.dtype}")
        self.write_frame(self._yuv(frame), self.num_frames, 1)

    def write_frame(self, frame: VideoFrame, pts: int, duration: int) -> None:
        """Append planes as `look` describes them, shown from `pts` for `duration`, in units of `look.time_base`."""
        if self._container is None:
            raise RuntimeError("VideoWriter.write outside its `with` block")
        frame.pts, frame.time_base, frame.duration = pts, self.look.time_base, duration
        with self._writing():
            self._container.mux(self._stream.encode(self._fit(frame)))
            self.num_frames += 1
            self.seconds = float((pts + duration) * self.look.time_base)
            if self._track is None:
                return
            if self._audio_seconds is None:
                # How many frames will come is not known: no sound beyond what is certain to have a picture.
                self._track.write_until(self.seconds)
            else:
                self._track.write_until(min(self.seconds + _AUDIO_LEAD_SECONDS, self._audio_seconds))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            with self._writing():
                self._finish()
        except BaseException:
            self._discard()
            raise

    def _finish(self) -> None:
        if self._container is None:
            raise RuntimeError("VideoWriter was never entered")
        if self.num_frames == 0:
            raise UserError(f"output '{self.path}': there was no frame to write; check that the input has pictures")
        packets = self._stream.encode(None)
        if self.num_frames <= _TOO_FEW_TO_REORDER:
            for packet in packets:
                packet.dts = packet.pts  # x265 leaves chance numbers there
        self._container.mux(packets)
        if self._track is not None:
            self._track.finish(self.seconds if self._audio_seconds is None else self._audio_seconds)
        self._container.close()
        self._container = None
        if self._track is not None:
            self._track.close()
        self._partial.replace(self.path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What the disk or the encoder refuses, in one line."""
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            if getattr(error, "errno", None) in _OF_THE_DISK:
                raise UserError(
                    f"output '{self.path}': cannot write there ({reason}); free some space or choose another folder"
                ) from error
            raise UserError(
                f"output '{self.path}': {self._encoding[0]} pictures and this sound cannot be written to a "
                f"{self.path.suffix} file ({reason}); try another codec or kind of file"
            ) from error

    def _discard(self) -> None:
        try:
            if self._track is not None:
                self._track.close()
            if self._container is not None:
                # The file goes away; that a half-written one cannot be closed well must not hide why.
                with suppress(av.error.FFmpegError, OSError):
                    self._container.close()
        finally:
            self._container = None
            self._partial.unlink(missing_ok=True)


def encode_clip(frames: Iterable[np.ndarray], fps: Fraction | float | int = 25, gop: int = 8, crf: int = 18) -> bytes:
    """A short clip as the bytes of an H.264 mp4, made for random access: a key frame every `gop` frames, no B-frames.

    frames: F images (H, W, 3) uint8 RGB of one size. One encoder thread, so the bytes do not depend on the machine.
    Raises ValueError when there is no frame or sizes differ.
    """
    rate = Fraction(fps).limit_denominator(100_000)
    options = {"bf": "0", "sc_threshold": "0", "threads": "1"}
    buffer, yuv = io.BytesIO(), YuvMaker()
    stream: VideoStream | DescribedStream | None = None
    shape: tuple[int, ...] = ()
    with av.open(buffer, "w", format="mp4") as container:
        for index, frame in enumerate(frames):
            if stream is None:
                shape = frame.shape
                look = VideoLook(shape[1], shape[0], time_base=1 / rate, rate=rate)
                stream = add_video_stream(container, look, crf=crf, gop=gop, options=options)
                fit = FrameFitter(look, "h264")
            if frame.shape != shape or frame.dtype != np.uint8:
                raise ValueError(f"frame {index} must be {shape} uint8, not {frame.shape} {frame.dtype}")
            picture = yuv(frame)
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(fit(picture)))
        if stream is None:
            raise ValueError("a clip needs at least one frame")
        container.mux(stream.encode(None))
    return buffer.getvalue()
