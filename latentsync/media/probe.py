"""What a media file is, without decoding it."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image, UnidentifiedImageError

from latentsync.errors import UserError
from latentsync.media.containers import find_video_stream, first_video_stream, open_media
from latentsync.media.orientation import frame_orientation

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".apng", ".bmp", ".webp", ".gif"})
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"})


@dataclass(frozen=True)
class VideoInfo:
    """A video as it is shown.

    width, height: pixels, upright. fps: mean frames a second. duration: seconds of its pictures. rotation: degrees
    clockwise by which the stored pictures are turned to be upright.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    num_frames: int
    duration: float
    rotation: int
    has_audio: bool


def probe_video(path: str | Path, keep_readable: bool = False) -> VideoInfo:
    """Look at a video: one frame is decoded for its orientation; packets are counted where the container does not tell.

    keep_readable: a file that is cut off will do. Raises UserError for a missing or unreadable file, or one without
    pictures.
    """
    with open_media(path, "input", keep_readable) as container:
        stream = first_video_stream(container, path)
        try:
            frame = next(container.decode(stream), None)
        except av.error.FFmpegError as error:
            raise UserError(f"input '{path}': cannot be decoded ({error}); give another file") from error
        if not isinstance(frame, VideoFrame):
            raise UserError(f"input '{path}': holds no picture that can be decoded; give another file")
        turn = frame_orientation(frame)
        width, height = (frame.height, frame.width) if turn.transpose else (frame.width, frame.height)
        fps = stream.average_rate or stream.guessed_rate or Fraction(25)
        num_frames = stream.frames or _count_packets(path, keep_readable)
        return VideoInfo(
            path=Path(path),
            width=width,
            height=height,
            fps=Fraction(fps),
            num_frames=num_frames,
            duration=_duration(stream, num_frames, Fraction(fps)),
            rotation=turn.rotation,
            has_audio=bool(container.streams.audio),
        )


def is_image(path: str | Path) -> bool:
    """Whether this is a picture: by its suffix, else by looking inside (UserError if it is missing)."""
    suffix = Path(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix in VIDEO_SUFFIXES:
        return suffix in IMAGE_SUFFIXES
    if not Path(path).is_file():
        raise UserError(f"input '{path}': no such file; check the path")
    try:
        with Image.open(path):
            return True
    except UnidentifiedImageError:
        return False


def is_video(path: str | Path) -> bool:
    """Whether this is a video: by its suffix, else by looking inside (UserError if it cannot be read)."""
    suffix = Path(path).suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix in VIDEO_SUFFIXES:
        return suffix in VIDEO_SUFFIXES
    if is_image(path):
        return False
    with open_media(path, "input") as container:
        return find_video_stream(container) is not None


def _duration(stream: VideoStream, num_frames: int, fps: Fraction) -> float:
    # Only containers that count frames also know how long the last one stands; MPEG's duration ends with its start.
    if stream.frames and stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return float(num_frames / fps)


def _count_packets(path: str | Path, keep_readable: bool) -> int:
    """One packet is one frame in every container that we read."""
    with open_media(path, "input", keep_readable) as container:
        stream = first_video_stream(container, path)
        return sum(1 for packet in container.demux(stream) if packet.size)
