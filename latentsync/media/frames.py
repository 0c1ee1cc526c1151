"""Videos and pictures to RGB arrays, upright, one at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from latentsync.errors import UserError
from latentsync.media.color import RgbReader
from latentsync.media.containers import first_video_stream, open_media
from latentsync.media.orientation import frame_orientation
from latentsync.work.files import written_whole

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
    to_rgb = RgbReader()
    count, first, time = 0, 0.0, 0.0
    with open_media(path, "input") as container:
        stream = first_video_stream(container, path)
        stream.thread_type = "AUTO"
        step = 1 / float(stream.average_rate or stream.guessed_rate or 25)
        try:
            for frame in container.decode(stream):
                stamp = frame.time
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


def read_frames_at(path: str | Path, fps: Fraction | float | int = 25) -> Iterator[np.ndarray]:
    """A video at a constant rate, whatever its own: for each k / fps the newest frame with time ≤ k / fps.

    Yields (H, W, 3) uint8 RGB; the video's duration times fps of them. Raises UserError as `read_frames` does.
    """
    period = 1 / float(fps)
    shown: TimedFrame | None = None
    index, duration = 0, 0.0
    for frame in read_frames(path):
        if shown is not None:
            while index * period < frame.time - _TIME_TOLERANCE:
                yield shown.image
                index += 1
            duration = frame.time - shown.time
        shown = frame
    if shown is None:
        return
    # The last picture stands as long as the one before it; a video of one picture gives that one.
    end = shown.time + (duration or period)
    while index * period < end - _TIME_TOLERANCE:
        yield shown.image
        index += 1


def read_image(path: str | Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB: turned as its EXIF says, transparency laid on white, 16 bits brought to 8.

    Raises UserError for a missing file or one that is not a picture.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"input '{path}': no such file; check the path")
    try:
        with Image.open(path) as stored:
            upright = ImageOps.exif_transpose(stored)
            return _rgb(upright)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"input '{path}': cannot be read as a picture ({error}); give .jpg, .png, .bmp or .webp"
        ) from error


def write_picture(path: str | Path, image: np.ndarray) -> None:
    """An image (H, W, 3) uint8 RGB as a PNG that appears when it is complete."""
    with written_whole(path) as part:
        Image.fromarray(image).save(part, format="PNG")


def _rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16-bit grey; Pillow itself would clip it at 255
        grey = np.asarray(picture).astype(np.float64) / 257
        return np.repeat(grey.round().clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))
