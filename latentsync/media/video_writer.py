"""Arrays to H.264 + AAC files: a streaming writer, and clips as bytes for shards."""

import io
import secrets
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from latentsync.errors import UserError
from latentsync.media.audio_track import AudioTrack, Sound, file_sound, wave_sound
from latentsync.media.color import BT709_TAG, YuvMaker

_CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
# Sound is written this far ahead of the pictures, so that the muxer need not hold packets back.
_AUDIO_LEAD_SECONDS = 0.5


def _even(image: np.ndarray) -> np.ndarray:
    """Repeat the last column or row of an odd-sized image: yuv420p has half-size chroma."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return image


def _add_h264(
    container: OutputContainer, width: int, height: int, fps: Fraction, options: dict[str, str], gop: int | None
) -> VideoStream:
    stream = cast(VideoStream, container.add_stream("libx264", rate=fps, options=options))
    stream.width, stream.height = width + width % 2, height + height % 2
    stream.pix_fmt = "yuv420p"
    context: Any = stream.codec_context
    context.time_base = 1 / fps
    context.colorspace = context.color_primaries = context.color_trc = BT709_TAG
    context.color_range = 1  # limited, "MPEG"
    if gop is not None:
        context.gop_size = gop
    return stream


class VideoWriter:
    """Write RGB frames, one at a time, to an H.264 (yuv420p, BT.709) file with AAC sound; a context manager.

    path: .mp4, .m4v, .mov or .mkv in a folder that exists. width, height: of the frames, in pixels; odd sizes grow by
    one repeated column or row. fps: frames a second. crf: x264 quality, smaller is better. gop: most frames between
    key frames, None for x264's own choice.
    Sound, at most one of: audio = (float32 (N,) mono in [-1, 1], rate in Hz), or audio_from = a file whose audio stream
    is taken at its own rate and channels. It is cut, or filled up with silence, to `audio_seconds`; None: to the
    frames' duration.

    The file appears under its name only after a clean exit; after any exception nothing is left.
    Raises UserError for a folder that does not exist, an unknown suffix, an `audio_from` without sound.
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
    ) -> None:
        if audio is not None and audio_from is not None:
            raise ValueError("give audio or audio_from, not both")
        self.path = Path(path)
        self.width, self.height = width, height
        self.fps = Fraction(fps).limit_denominator(100_000)
        self.num_frames = 0
        self._options = {"crf": str(crf), "preset": preset}
        self._gop = gop
        self._audio_seconds = audio_seconds
        self._sound: Sound | None = None
        if audio is not None:
            self._sound = wave_sound(*audio)
        elif audio_from is not None:
            self._sound = file_sound(audio_from)
        self._check_target()
        self._partial = self.path.with_name(f".{self.path.stem}.{secrets.token_hex(4)}.part{self.path.suffix}")
        self._yuv = YuvMaker()
        self._container: OutputContainer | None = None
        self._track: AudioTrack | None = None

    def _check_target(self) -> None:
        if self.path.suffix.lower() not in _CONTAINERS:
            known = ", ".join(_CONTAINERS)
            raise UserError(f"output '{self.path}': cannot write '{self.path.suffix}' files; use one of {known}")
        if not self.path.parent.is_dir():
            raise UserError(f"output '{self.path}': folder '{self.path.parent}' does not exist; create it first")
        if self.path.is_dir():
            raise UserError(f"output '{self.path}': is a folder; give a file name")

    def __enter__(self) -> "VideoWriter":
        kind = _CONTAINERS[self.path.suffix.lower()]
        # +faststart: the index goes to the front, so that a browser plays it before it has all of it.
        options = {} if kind == "matroska" else {"movflags": "+faststart"}
        try:
            self._partial.touch(exist_ok=False)  # FFmpeg would only notice at the first packet
        except OSError as error:
            raise UserError(
                f"output '{self.path}': cannot write there ({error.strerror}); choose another folder"
            ) from error
        try:
            self._container = av.open(str(self._partial), "w", format=kind, options=options)
            self._stream = _add_h264(self._container, self.width, self.height, self.fps, self._options, self._gop)
            if self._sound is not None:
                self._track = AudioTrack(self._container, self._sound)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, frame: np.ndarray) -> None:
        """Append one frame, (height, width, 3) uint8 RGB."""
        if self._container is None:
            raise RuntimeError("VideoWriter.write outside its `with` block")
        if frame.shape != (self.height, self.width, 3) or frame.dtype != np.uint8:
            raise ValueError(f"frame must be ({self.height}, {self.width}, 3) uint8, not {frame.shape} {frame.dtype}")
        picture = self._yuv(_even(frame))
        picture.pts, picture.time_base = self.num_frames, 1 / self.fps
        self._container.mux(self._stream.encode(picture))
        self.num_frames += 1
        if self._track is not None:
            written = float(self.num_frames / self.fps)
            if self._audio_seconds is None:
                # How many frames will come is not known: no sound beyond what is certain to have a picture.
                self._track.write_until(written)
            else:
                self._track.write_until(min(written + _AUDIO_LEAD_SECONDS, self._audio_seconds))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._finish()
        except BaseException:
            self._discard()
            raise

    def _finish(self) -> None:
        if self._container is None:
            raise RuntimeError("VideoWriter was never entered")
        if self.num_frames == 0:
            raise UserError(f"output '{self.path}': there was no frame to write; check that the input has pictures")
        self._container.mux(self._stream.encode(None))
        if self._track is not None:
            seconds = float(self.num_frames / self.fps) if self._audio_seconds is None else self._audio_seconds
            self._track.finish(seconds)
        self._container.close()
        self._container = None
        if self._sound is not None:
            self._sound.close()
        self._partial.replace(self.path)

    def _discard(self) -> None:
        try:
            if self._sound is not None:
                self._sound.close()
            if self._container is not None:
                # The file goes away; that a half-written one cannot be closed well must not hide why.
                with suppress(av.error.FFmpegError):
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
    options = {"crf": str(crf), "preset": "veryfast", "bf": "0", "sc_threshold": "0", "threads": "1"}
    buffer, yuv = io.BytesIO(), YuvMaker()
    stream: VideoStream | None = None
    shape: tuple[int, ...] = ()
    with av.open(buffer, "w", format="mp4") as container:
        for index, frame in enumerate(frames):
            if stream is None:
                shape = frame.shape
                stream = _add_h264(container, shape[1], shape[0], rate, options, gop)
            if frame.shape != shape or frame.dtype != np.uint8:
                raise ValueError(f"frame {index} must be {shape} uint8, not {frame.shape} {frame.dtype}")
            picture = yuv(_even(frame))
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
        if stream is None:
            raise ValueError("a clip needs at least one frame")
        container.mux(stream.encode(None))
    return buffer.getvalue()
