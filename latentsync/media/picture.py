"""Pictures of a video as the decoder gave them: RGB on demand, and changes laid onto their own planes."""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

from latentsync.media.color import BT709_TAG, CAREFUL, YuvMaker, source_matrix
from latentsync.media.orientation import Orientation, frame_orientation

# Planar formats that both H.264 and HEVC encoders take as they are.
_KEPT_FORMATS = frozenset(
    f"{family}{sampling}p{depth}"
    for family, depth in (("yuv", ""), ("yuvj", ""), ("yuv", "10le"))
    for sampling in ("420", "422", "444")
)
_FULL_RANGE, _LIMITED_RANGE = 2, 1  # AVCOL_RANGE_JPEG, AVCOL_RANGE_MPEG


@dataclass(frozen=True)
class VideoLook:
    """What all pictures of a stream have in common, so that a written stream can have it too.

    width, height: as stored, in pixels. pixel_format: FFmpeg's name. time_base: unit of time stamps in seconds. rate:
    mean frames a second. matrix, primaries, transfer, color_range: colour tags of ITU-T H.273. display_matrix: nine
    integers, how stored pictures are turned, None: not at all. aspect: width / height of a pixel.
    """

    width: int
    height: int
    pixel_format: str = "yuv420p"
    time_base: Fraction = Fraction(1, 25)
    rate: Fraction = Fraction(25)
    matrix: int = BT709_TAG
    primaries: int = BT709_TAG
    transfer: int = BT709_TAG
    color_range: int = _LIMITED_RANGE
    display_matrix: tuple[int, ...] | None = None
    aspect: Fraction = Fraction(1)


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
        """(H, W, 3) uint8 RGB, upright, contiguous; made when first asked for, and kept until `forget`."""
        if self._rgb is None:
            self._rgb = self.turn.upright(self._stored_rgb())
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

    def changed(self, rgb: np.ndarray) -> VideoFrame:
        """The planes with what differs between `rgb` and `self.rgb` added to them.

        rgb: (H, W, 3) uint8, upright. Where both are equal the planes stay the decoder's own to the last bit.
        """
        copy = self.unchanged()
        after, before = self.turn.stored(rgb), self.turn.stored(self.rgb)
        rows, columns = (np.flatnonzero((after != before).any(axis=(axis, 2))) for axis in (1, 0))
        if not len(rows):
            return copy
        # Whole blocks of chroma, and some more around them: the scaler looks at neighbours.
        top, left = max(0, (rows[0] - 8) // 2 * 2), max(0, (columns[0] - 8) // 2 * 2)
        bottom, right = min(after.shape[0], (rows[-1] + 10) // 2 * 2), min(after.shape[1], (columns[-1] + 10) // 2 * 2)
        parts = [self._planes_of(image[top:bottom, left:right]) for image in (after, before)]
        for target, new, old in zip(plane_arrays(copy), *(plane_arrays(part) for part in parts)):
            y, x = top * target.shape[0] // after.shape[0], left * target.shape[1] // after.shape[1]
            area = target[y : y + new.shape[0], x : x + new.shape[1]]
            largest = 1023 if target.dtype == np.uint16 else 255
            area[:] = np.clip(area.astype(np.int32) + new - old.astype(np.int32), 0, largest)
        return copy

    def _stored_rgb(self) -> np.ndarray:
        matrix = source_matrix(self.look.matrix, self.frame.width, self.frame.height)
        rgb = VideoReformatter().reformat(
            self.frame, format="rgb24", src_colorspace=matrix, interpolation=CAREFUL, threads=1
        )
        return np.ascontiguousarray(rgb.to_ndarray())

    def _planes_of(self, rgb: np.ndarray) -> VideoFrame:
        full = self.look.color_range == _FULL_RANGE or self.look.pixel_format.startswith("yuvj")
        return VideoReformatter().reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24"),
            format=self.look.pixel_format,
            dst_colorspace=source_matrix(self.look.matrix, self.frame.width, self.frame.height),
            dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
            interpolation=CAREFUL,
            threads=1,
        )


class PictureMaker:
    """Turns the decoded frames of one stream, all of one size, into pictures.

    Formats that no encoder takes are brought to the nearest that it does, and odd sizes grow by one repeated column or
    row: those pictures go through RGB.
    """

    def __init__(self, first: VideoFrame, time_base: Fraction, rate: Fraction, aspect: Fraction | None = None) -> None:
        self._yuv = YuvMaker()
        self._source = (first.width, first.height, first.format.name)
        self._turn = frame_orientation(first)
        self._keeps = first.format.name in _KEPT_FORMATS and not (first.width % 2 or first.height % 2)
        data = cast(Any, first.side_data).get(Type.DISPLAYMATRIX)
        frame = self._frame(first)
        self.look = VideoLook(
            width=frame.width,
            height=frame.height,
            pixel_format=frame.format.name,
            time_base=time_base,
            rate=rate,
            display_matrix=None if data is None else tuple(np.frombuffer(bytes(data), dtype=np.int32)[:9].tolist()),
            aspect=aspect or Fraction(1),
        )
        if self._keeps:
            full = first.color_range == _FULL_RANGE or first.format.name.startswith("yuvj")
            self.look = replace(
                self.look,
                matrix=int(first.colorspace),
                primaries=int(first.color_primaries),
                transfer=int(first.color_trc),
                color_range=_FULL_RANGE if full else _LIMITED_RANGE,
            )

    def fits(self, frame: VideoFrame) -> bool:
        """Whether the frame has the size and format of the first."""
        return (frame.width, frame.height, frame.format.name) == self._source

    def __call__(self, frame: VideoFrame, pts: int, duration: int, key: bool) -> Picture:
        return Picture(self._frame(frame), self.look, self._turn, pts, duration, key)

    def _frame(self, frame: VideoFrame) -> VideoFrame:
        if self._keeps:
            return frame
        matrix = source_matrix(frame.colorspace, frame.width, frame.height)
        rgb = VideoReformatter().reformat(
            frame, format="rgb24", src_colorspace=matrix, interpolation=CAREFUL, threads=1
        )
        return self._yuv(even(rgb.to_ndarray()))


def still_picture(image: np.ndarray) -> Picture:
    """A picture from (H, W, 3) uint8 RGB, BT.709 at 25 a second; an odd size grows by one repeated column or row."""
    image = even(image)
    frame = YuvMaker()(image)
    return Picture(frame, VideoLook(frame.width, frame.height), Orientation(), rgb=image)


def even(image: np.ndarray) -> np.ndarray:
    """Repeat the last column or row of an odd-sized image: yuv420p has half-size chroma."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return image


def plane_arrays(frame: VideoFrame) -> list[np.ndarray]:
    """The planes of a planar frame as (h, w) arrays of its own memory, uint8, or uint16 for more than 8 bits."""
    kind = np.dtype(np.uint16 if frame.format.name.endswith("le") else np.uint8)
    arrays = []
    for plane in frame.planes:
        rows = np.frombuffer(cast(Any, plane), dtype=kind).reshape(plane.height, plane.line_size // kind.itemsize)
        arrays.append(rows[:, : plane.width])
    return arrays
