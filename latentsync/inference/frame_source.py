"""The input's own pictures on the output's clock, as many as the sound needs, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.media.picture import Picture
from latentsync.media.picture_maker import still_picture
from latentsync.media.picture_reader import PictureReader
from latentsync.media.probe import is_image
from latentsync.media.rates import FPS
from latentsync.media.stills import AnimationReader, is_animated, read_image, read_image_with_alpha

# Playing backwards decodes a stretch of the video and holds this much of it.
_REVERSE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class SourceFrame:
    """One output frame before anything is done to it.

    index: the picture's number in the input. pts, duration: when it is shown, in `picture.look.time_base`. jump: the
    picture shown before is not its neighbour in the input. speaks: there is sound for it.
    """

    index: int
    picture: Picture
    pts: int = 0
    duration: int = 1
    jump: bool = False
    speaks: bool = True

    @property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright."""
        return self.picture.rgb

    @property
    def time(self) -> float:
        """Seconds from the output's first frame."""
        return float(self.pts * self.picture.look.time_base)


def source_frames(
    path: str | Path,
    seconds: float,
    longer_audio: str = "pingpong",
    shorter_audio: str = "cut",
    keep_readable: bool = False,
    reverse_bytes: int = _REVERSE_BYTES,
    deinterlace: bool = False,
    sdr: bool = False,
    keep_alpha: bool = False,
) -> Iterator[SourceFrame]:
    """Frames of a picture (25 a second) or a video (with its own time stamps) for `seconds` of sound; at least one.

    A frame belongs to the sound if more than half of it does. Memory: one picture; while playing backwards about
    `reverse_bytes` at most (but 16 pictures at least).

    longer_audio: what follows the video's last frame: "pingpong" (back, then forth again; as published, the frames at
        the ends twice), "loop", "hold", or "stop": nothing.
    shorter_audio: "cut", or "keep" the rest of the video, which does not speak.
    deinterlace, sdr: see `PictureReader`. keep_alpha: of a picture or an animation.

    Raises UserError, when iterated, for what cannot be read (see `PictureReader`).
    """
    if is_image(path) and not is_animated(path):
        yield from _still(read_image_with_alpha(path) if keep_alpha else read_image(path), seconds)
        return
    reader: PictureReader | AnimationReader
    if is_image(path):
        reader = AnimationReader(path, keep_alpha)
    else:
        reader = PictureReader(path, keep_readable, deinterlace, sdr)
    end, rest = 0, 0.0
    last: SourceFrame | None = None
    for index, picture in enumerate(reader.forwards()):
        rest = seconds - _middle(picture, picture.pts)
        if rest <= 0 and shorter_audio == "cut" and last is not None:
            return
        if last is not None:
            last.picture.forget()
        last = SourceFrame(index, picture, picture.pts, picture.duration, speaks=rest > 0 or last is None)
        end = picture.pts + picture.duration
        yield last
    if last is None or longer_audio == "stop":
        return
    for frame in _more(reader, last, end, longer_audio, reverse_bytes):
        if _middle(frame.picture, frame.pts) >= seconds:
            return
        yield frame


def _still(image: np.ndarray, seconds: float) -> Iterator[SourceFrame]:
    picture = still_picture(image)
    for pts in range(max(1, round(seconds * FPS))):
        yield SourceFrame(0, picture, pts)


def _middle(picture: Picture, pts: int) -> float:
    """Seconds at which half a usual frame is over; not half of this one: it may stand for minutes."""
    look = picture.look
    usual = min(float(picture.duration * look.time_base), float(1 / look.rate))
    return float(pts * look.time_base) + usual / 2


def _more(
    reader: PictureReader | AnimationReader, last: SourceFrame, length: int, longer_audio: str, reverse_bytes: int
) -> Iterator[SourceFrame]:
    """Frames after the video's end at `length`, without an end."""
    if longer_audio == "hold":
        pts = length
        while True:
            yield SourceFrame(last.index, last.picture, pts, last.duration)
            pts += last.duration
    start, backwards = length, longer_audio == "pingpong"
    while True:
        if backwards:
            for number, picture in zip(range(len(reader) - 1, -1, -1), reader.backwards(reverse_bytes), strict=True):
                yield SourceFrame(number, picture, start + length - picture.pts - picture.duration, picture.duration)
        else:
            for number, picture in enumerate(reader.forwards()):
                jump = number == 0 and longer_audio == "loop"
                yield SourceFrame(number, picture, start + picture.pts, picture.duration, jump)
        start += length
        backwards = longer_audio == "pingpong" and not backwards
