"""Planes of a stream to what an encoder takes: its pixel format, its size, its tags, its fields."""

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

from latentsync.media.color import CAREFUL, FULL_RANGE, LIMITED_RANGE, source_matrix
from latentsync.media.fields import FieldMarker
from latentsync.media.picture import VideoLook, plane_arrays
from latentsync.media.pixel_format import keeps_alpha, nearest_format, pixel_format, plain_name

# x264 and x265 take whole blocks of chroma only; the others keep odd sizes.
_WHOLE_BLOCKS = frozenset({"h264", "hevc"})
INTERLACED_CODECS = frozenset({"h264", "prores"})
_LIMITED_ONLY = frozenset({"prores"})


class FrameFitter:
    """Makes frames as `look` describes them ready for an encoder of `codec`, losing as little as it lets.

    width, height: of the coded picture, which can be larger than the look's by repeated columns and rows. pixel_format,
    color_range: of the coded picture. container: FFmpeg's name of the file format.
    """

    def __init__(self, look: VideoLook, codec: str, container: str = "mp4") -> None:
        self._look = look
        self._from = plain_name(look.pixel_format)
        self.pixel_format = nearest_format(look.pixel_format, codec, keeps_alpha(codec, container))
        full = look.colors.full and codec not in _LIMITED_ONLY
        self.color_range = FULL_RANGE if full else LIMITED_RANGE
        self._changes_range = look.colors.full and not full
        kind = pixel_format(self.pixel_format)
        self.fields = look.fields if codec in INTERLACED_CODECS else None
        across = down = 1
        if codec in _WHOLE_BLOCKS:
            across, down = 1 << kind.narrower, (1 << kind.lower) * (2 if self.fields else 1)
        self.width, self.height = _whole(look.width, across), _whole(look.height, down)
        self._mark = FieldMarker(self.fields) if self.fields else None

    @property
    def padded(self) -> bool:
        """Whether columns or rows were added."""
        return (self.width, self.height) != (self._look.width, self._look.height)

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """frame: planes in `look.pixel_format` and of its size, with its time set."""
        pts, base, duration = frame.pts, frame.time_base, frame.duration
        fitted = self._padded(self._converted(frame))
        look = self._look
        fitted.colorspace, fitted.color_primaries, fitted.color_trc = look.matrix, look.primaries, look.transfer
        fitted.color_range = self.color_range
        fitted.pts, fitted.time_base, fitted.duration = pts, base or Fraction(1, 25), duration
        return self._mark(fitted) if self._mark else fitted

    def _converted(self, frame: VideoFrame) -> VideoFrame:
        if frame.format.name == self.pixel_format and not self._changes_range:
            return frame
        have, want = pixel_format(self._from), pixel_format(self.pixel_format)
        same_chroma = (have.narrower, have.lower) == (want.narrower, want.lower)
        if same_chroma and not self._changes_range and (have.alpha or not want.alpha):
            return _of_depth(frame, have.depth, self.pixel_format)
        if frame.format.name != self._from:
            frame = _of_depth(frame, have.depth, self._from)
        if self._look.fields and have.lower != want.lower:
            return self._by_fields(frame)
        return self._scaled(frame)

    def _scaled(self, frame: VideoFrame) -> VideoFrame:
        matrix = source_matrix(self._look.matrix, self._look.width, self._look.height, self._look.primaries)
        return VideoReformatter().reformat(
            frame,
            format=self.pixel_format,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=self._look.colors.range,
            dst_color_range=ColorRange.JPEG if self.color_range == FULL_RANGE else ColorRange.MPEG,
            interpolation=CAREFUL,
            threads=1,
        )

    def _by_fields(self, frame: VideoFrame) -> VideoFrame:
        """Chroma of two moments must not be mixed."""
        result = VideoFrame(frame.width, frame.height, self.pixel_format)
        for first in (0, 1):
            field = VideoFrame(frame.width, (frame.height + 1 - first) // 2, frame.format.name)
            for target, plane in zip(plane_arrays(field), plane_arrays(frame)):
                lines = plane[first::2]
                target[: len(lines)] = lines
                target[len(lines) :] = lines[-1:]
            for target, plane in zip(plane_arrays(result), plane_arrays(self._scaled(field))):
                lines = target[first::2]
                lines[:] = plane[: len(lines)]
        return result

    def _padded(self, frame: VideoFrame) -> VideoFrame:
        if (frame.width, frame.height) == (self.width, self.height):
            return frame
        result = VideoFrame(self.width, self.height, frame.format.name)
        for target, plane in zip(plane_arrays(result), plane_arrays(frame)):
            more = [(0, wide - narrow) for wide, narrow in zip(target.shape, plane.shape)]
            target[:] = np.pad(plane, more, mode="edge")
        return result


def _whole(size: int, block: int) -> int:
    return -(-size // block) * block


def _of_depth(frame: VideoFrame, depth: int, name: str) -> VideoFrame:
    """The same planes in another number of bits, rounded; an alpha plane that `name` lacks is left out."""
    result = VideoFrame(frame.width, frame.height, name)
    kind = pixel_format(name)
    shift = kind.depth - depth
    for target, plane in zip(plane_arrays(result), plane_arrays(frame)):
        if shift >= 0:
            target[:] = plane.astype(target.dtype) << shift
        else:
            target[:] = np.minimum((plane.astype(np.uint32) + (1 << (-shift - 1))) >> -shift, kind.largest)
    return result
