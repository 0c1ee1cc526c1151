"""Random access to the frames of a short clip held in memory: decord for training, PyAV where decord cannot."""

import io
import logging
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import av
import numpy as np

from latentsync.errors import UserError
from latentsync.media.containers import first_video_stream, open_media

# decord's seeks are exact in mp4; in MPEG program streams it returns neighbouring frames without a word.
_MP4_MARK = b"ftyp"

_log = logging.getLogger(__name__)


class ClipReader:
    """Frames of a clip by number.

    video_bytes: a whole video file. backend: "decord", "pyav", or "auto": decord for mp4, and PyAV where decord is not
    installed or refuses the stream, and for other containers. Both give the same frames for H.264.
    Raises ImportError (backend="decord" without decord) or ValueError (bytes that hold no video).
    """

    def __init__(self, video_bytes: bytes, backend: Literal["auto", "decord", "pyav"] = "auto") -> None:
        self._source = _open(video_bytes, backend)

    @property
    def backend(self) -> str:
        """Which library reads this clip: "decord" or "pyav"."""
        return self._source.name

    def __len__(self) -> int:
        return self._source.num_frames

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames with these numbers, in this order (repeats allowed), as (N, H, W, 3) uint8 RGB.

        Each is decoded at most once, forward. Raises IndexError for a number outside the clip,
        ValueError when a frame cannot be decoded.
        """
        if len(indices) == 0:
            raise ValueError("no frame number given")
        if min(indices) < 0 or max(indices) >= len(self):
            raise IndexError(f"frames {min(indices)}…{max(indices)} of a clip of {len(self)}")
        wanted, places = np.unique(np.asarray(indices), return_inverse=True)
        return self._source.read_sorted([int(i) for i in wanted])[places]


class _Source(Protocol):
    name: str
    num_frames: int

    def read_sorted(self, wanted: list[int]) -> np.ndarray: ...


def _open(video_bytes: bytes, backend: str) -> _Source:
    if backend == "pyav":
        return _PyAVSource(video_bytes)
    if backend == "decord":
        return _DecordSource(video_bytes)
    if backend != "auto":
        raise ValueError(f"backend must be auto, decord or pyav, not '{backend}'")
    if video_bytes[4:8] != _MP4_MARK:
        return _PyAVSource(video_bytes)
    try:
        return _DecordSource(video_bytes)
    except ImportError:
        return _PyAVSource(video_bytes)
    except ValueError as error:
        source = _PyAVSource(video_bytes)
        _log.debug("decord refuses this clip (%s); PyAV reads it", error)
        return source


class _DecordSource:
    name = "decord"

    def __init__(self, video_bytes: bytes) -> None:
        import decord  # no wheel on arm64 and macOS

        self._error = decord.DECORDError
        try:
            # One thread: loader workers are the parallelism, and frames come out in a fixed way.
            self._reader: Any = decord.VideoReader(io.BytesIO(video_bytes), num_threads=1)
            self.num_frames = len(self._reader)
        except (decord.DECORDError, RuntimeError) as error:
            raise ValueError(f"decord cannot read this clip: {str(error).splitlines()[0]}") from error
        if self.num_frames == 0:
            raise ValueError("decord finds no frame in this clip")

    def read_sorted(self, wanted: list[int]) -> np.ndarray:
        try:
            return self._reader.get_batch(wanted).asnumpy()
        except (self._error, RuntimeError) as error:
            raise ValueError(f"decord cannot decode frames {wanted}: {str(error).splitlines()[0]}") from error


class _PyAVSource:
    name = "pyav"

    def __init__(self, video_bytes: bytes) -> None:
        self._bytes = video_bytes
        try:
            with open_media(video_bytes, "clip") as container:
                first_video_stream(container, "clip")
                self.num_frames = sum(1 for packet in container.demux(video=0) if packet.size)
        except (av.error.FFmpegError, UserError) as error:
            raise ValueError(f"PyAV cannot read this clip: {error}") from error

    def read_sorted(self, wanted: list[int]) -> np.ndarray:
        """Decodes from the clip's start to the last wanted frame: clips are short, and seeks are not exact
        everywhere."""
        found: list[np.ndarray] = []
        try:
            with open_media(self._bytes, "clip") as container:
                for index, frame in enumerate(container.decode(video=0)):
                    if index == wanted[len(found)]:
                        # Not through color.RgbReader: plain conversion is bit for bit what decord does.
                        found.append(frame.to_ndarray(format="rgb24"))
                        if len(found) == len(wanted):
                            return np.stack(found)
        except av.error.FFmpegError as error:
            raise ValueError(f"PyAV cannot decode frame {wanted[len(found)]}: {error}") from error
        raise ValueError(f"the clip ended before frame {wanted[len(found)]}")
