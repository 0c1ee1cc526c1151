"""Videos to RGB arrays, upright, one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from latentsync.errors import UserError
from latentsync.media.color import RgbReader, container_tags
from latentsync.media.containers import first_video_stream, open_media
from latentsync.media.decoding import decoded_frames
from latentsync.media.orientation import frame_orientation
from latentsync.media.picture_stamps import PictureStamps
from latentsync.media.rates import FPS

# Time stamps are rounded in files, to 1 ms in Matroska: a frame this little late still counts as in time.
_TIME_TOLERANCE = 1.5e-3


@dataclass(frozen=True)
class TimedFrame:
    """One picture of a video: image (H, W, 3) uint8 RGB, contiguous, upright; time in seconds after the first."""

    image: np.ndarray
    time: float


def read_frames(path: str | Path) -> Iterator[TimedFrame]:
    """All frames of a video, in the order shown, one in memory at a time.

    Raises UserError, when iterated, for a missing or unreadable file, one without pictures, one that is cut off, or
    one that cannot be decoded in the middle (with the time of the last good frame).
    """
    count, first, time = 0, 0.0, 0.0
    with open_media(path, "input") as container:
        stream = first_video_stream(container, path)
        stream.thread_type = "AUTO"
        to_rgb = RgbReader(container_tags(stream.codec_context))
        stamps = PictureStamps(container)
        step = 1 / float(stream.average_rate or stream.guessed_rate or 25)
        try:
            for frame in decoded_frames(container, stream):
                ticks = stamps(frame)
                stamp = None if ticks is None or stream.time_base is None else float(ticks * stream.time_base)
                if count == 0:
                    first = stamp or 0.0
                    turn = frame_orientation(frame)
                time = stamp - first if stamp is not None else count * step
                yield TimedFrame(turn.upright(to_rgb(frame)), time)
                count += 1
        except av.error.FFmpegError as error:
            raise UserError(
                f"input '{path}': cannot be decoded after {time:.2f} s ({error}); re-encode or cut the file"
            ) from error
        if count == 0:
            raise UserError(f"input '{path}': holds no picture that can be decoded; give another file")


@dataclass(frozen=True)
class SteadyFrame:
    """A moment at a constant rate. index: its number, from 0; image: (H, W, 3) uint8 RGB, upright, what is shown then;
    number, time: of the video's own frame that is shown, from 0 and in seconds."""

    index: int
    image: np.ndarray
    number: int
    time: float


def read_frames_at(path: str | Path, fps: Fraction | float | int = FPS) -> Iterator[SteadyFrame]:
    """A video at a constant rate, whatever its own: for each k / fps the newest frame with time ≤ k / fps.

    The video's duration times fps of them, one in memory at a time. Raises UserError as `read_frames` does.
    """
    period = 1 / float(fps)
    shown: TimedFrame | None = None
    index, number, lasts = 0, -1, period
    for frame in read_frames(path):
        if shown is not None:
            while index * period < frame.time - _TIME_TOLERANCE:
                yield SteadyFrame(index, shown.image, number, shown.time)
                index += 1
            lasts = frame.time - shown.time or lasts
        shown, number = frame, number + 1
    # The last picture stands as long as the one before it; a video of one picture gives that one.
    while shown is not None and index * period < shown.time + lasts - _TIME_TOLERANCE:
        yield SteadyFrame(index, shown.image, number, shown.time)
        index += 1
