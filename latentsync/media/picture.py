"""Pictures of a video as the decoder gave them: RGB on demand, and changes laid onto their own planes."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import cv2
import numpy as np
from av.video.frame import VideoFrame

from latentsync.media.color import BT709_TAG, FULL_RANGE, LIMITED_RANGE, Colors
from latentsync.media.hdr_metadata import HdrMetadata
from latentsync.media.orientation import Box, Orientation
from latentsync.media.pixel_format import pixel_format

# Changes are laid on in whole blocks of chroma, which no format makes larger.
_BLOCK = 8
# … and one more on either side, as the scaler looks at neighbours.
_REACH = 2 * _BLOCK


@dataclass(frozen=True)
class VideoLook:
    """What all pictures of a stream have in common, so that a written stream can have it too.

    width, height: as stored, in pixels. pixel_format: FFmpeg's name. time_base: unit of time stamps in seconds. rate:
    mean frames a second. matrix, primaries, transfer, color_range: colour tags of ITU-T H.273. display_matrix: nine
    integers, how stored pictures are turned, None: not at all. aspect: width / height of a pixel. fields: the one
    shown first of interlaced pictures, "top" or "bottom"; None: progressive. hdr: HDR10's metadata.
    """

    width: int
    height: int
    pixel_format: str = "yuv420p"
    time_base: Fraction = Fraction(1, 25)
    rate: Fraction = Fraction(25)
    matrix: int = BT709_TAG
    primaries: int = BT709_TAG
    transfer: int = BT709_TAG
    color_range: int = LIMITED_RANGE
    display_matrix: tuple[int, ...] | None = None
    aspect: Fraction = Fraction(1)
    fields: str | None = None
    hdr: HdrMetadata | None = None

    @property
    def colors(self) -> Colors:
        """What its samples mean."""
        full = self.color_range == FULL_RANGE or self.pixel_format.startswith("yuvj")
        peak = None if self.hdr is None else self.hdr.peak
        return Colors(self.matrix, self.primaries, self.transfer, full, peak)


@dataclass(frozen=True)
class Patch:
    """A rectangle of a picture, upright, in whose middle something is to change.

    rgb: (h, w, 3) uint8, the picture's own. corner: (top, left) in the picture, in pixels. size: the picture's (height,
    width), upright.
    """

    rgb: np.ndarray
    corner: tuple[int, int]
    size: tuple[int, int]


class Picture:
    """One picture of a stream.

    frame: planes as stored, in `look.pixel_format`; not to be written to. pts, duration: in `look.time_base`, pts
    counted from the stream's first picture. key: whether decoding can begin here.
    """

    def __init__(
        self,
        frame: VideoFrame,
        look: VideoLook,
        turn: Orientation,
        pts: int = 0,
        duration: int = 1,
        key: bool = True,
        rgb: np.ndarray | None = None,
    ) -> None:
        self.frame, self.look, self.turn = frame, look, turn
        self.pts, self.duration, self.key = pts, duration, key
        self._given = self._rgb = rgb

    @property
    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a BT.709 screen, upright, contiguous; made when first asked for, and kept until
        `forget`."""
        if self._rgb is None:
            self._rgb = self.turn.upright(self.look.colors.rgb(self.frame))
            self._rgb.flags.writeable = False
        return self._rgb

    def forget(self) -> None:
        """Free the RGB, unless the picture was made from it."""
        self._rgb = self._given

    def unchanged(self) -> VideoFrame:
        """A copy of the planes without what belongs to the source's stream (kind of picture, captions)."""
        copy = VideoFrame(self.frame.width, self.frame.height, self.frame.format.name)
        for target, plane in zip(plane_arrays(copy), plane_arrays(self.frame)):
            target[:] = plane
        return copy

    def patch(self, box: Box) -> Patch:
        """What is needed to change that part of the picture: a copy of it with its surroundings."""
        top, bottom, left, right = box
        top, left = max(0, top - _REACH), max(0, left - _REACH)
        image = self.rgb
        part = image[top : bottom + _REACH, left : right + _REACH].copy()
        return Patch(part, (top, left), (image.shape[0], image.shape[1]))

    def changed(self, rgb: np.ndarray, before: Patch | None = None) -> VideoFrame:
        """The planes with what differs between `rgb` and what was there before added to them.

        rgb: (h, w, 3) uint8, upright, in the place of the patch `before`, None: of the whole picture. Where both are
        equal the planes stay the decoder's own to the last bit; a change comes back in the stream's own colour space.
        A change within 16 pixels of the patch's edge, where the picture goes on, is not what a patch is for.
        """
        copy = self.unchanged()
        before = before or Patch(self.rgb, (0, 0), (rgb.shape[0], rgb.shape[1]))
        # As one channel: columns are samples.
        x, y, columns, rows = cv2.boundingRect(cv2.absdiff(rgb, before.rgb).reshape(len(rgb), -1))
        if not columns:
            return copy
        y0, x0 = before.corner
        changes = (y0 + y, y0 + y + rows, x0 + x // 3, x0 + (x + columns - 1) // 3 + 1)
        top, bottom, left, right = self._blocks_around(changes)
        whole = (y0, y0 + rgb.shape[0], x0, x0 + rgb.shape[1])
        up, _, aside, _ = self.turn.stored_box(whole, self.frame.height, self.frame.width)
        part = np.s_[top - up : bottom - up, left - aside : right - aside]
        parts = [self._planes_of(self.turn.stored(image)[part]) for image in (rgb, before.rgb)]
        kind = pixel_format(self.look.pixel_format)
        for number, (target, new, old) in enumerate(zip(plane_arrays(copy), *(plane_arrays(part) for part in parts))):
            chroma = number in (1, 2)
            y, x = top >> (kind.lower * chroma), left >> (kind.narrower * chroma)
            area = target[y : y + new.shape[0], x : x + new.shape[1]]
            area[:] = np.clip(area.astype(np.int32) + new - old.astype(np.int32), 0, kind.largest)
        return copy

    def _blocks_around(self, box: Box) -> Box:
        """The whole blocks that hold a rectangle, and one more on either side, as stored."""
        height, width = self.frame.height, self.frame.width
        top, bottom, left, right = self.turn.stored_box(box, height, width)
        rows, columns = _blocks(top, bottom, height), _blocks(left, right, width)
        return (*rows, *columns)

    def _planes_of(self, rgb: np.ndarray) -> VideoFrame:
        return self.look.colors.planes(rgb, self.look.pixel_format, (self.frame.width, self.frame.height))


def _blocks(first: int, stop: int, size: int) -> tuple[int, int]:
    return max(0, (first - _BLOCK) // _BLOCK * _BLOCK), min(size, ((stop - 1) // _BLOCK + 2) * _BLOCK)


def plane_arrays(frame: VideoFrame) -> list[np.ndarray]:
    """The planes of a planar frame as (h, w) arrays of its own memory, uint8, or uint16 for more than 8 bits."""
    kind = np.dtype(np.uint16 if frame.format.name.endswith("le") else np.uint8)
    arrays = []
    for plane in frame.planes:
        rows = np.frombuffer(cast(Any, plane), dtype=kind).reshape(plane.height, plane.line_size // kind.itemsize)
        arrays.append(rows[:, : plane.width])
    return arrays
