"""Decoded frames of a stream, and still images, to pictures whose planes can be worked on."""

from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

from latentsync.media.color import (
    BT709_TAG,
    CAREFUL,
    FULL_RANGE,
    LIMITED_RANGE,
    Tags,
    YuvMaker,
    frame_colors,
    source_matrix,
)
from latentsync.media.fields import field_order
from latentsync.media.hdr_metadata import hdr_metadata
from latentsync.media.orientation import Orientation, frame_orientation
from latentsync.media.picture import Picture, VideoLook, plane_arrays
from latentsync.media.pixel_format import is_planar_yuv, pixel_format, working_format
from latentsync.media.tone import BT2020_TAG

_BT2020_MATRIX_TAG = 9


class PictureMaker:
    """Turns the decoded frames of one stream, all of one size, into pictures.

    Frames in planar YUV stay as they are; grey, packed and RGB ones are brought to planes that keep all of them.
    tags: colours as the container tells them. sdr: PQ, HLG and BT.2020 are tone-mapped to BT.709 of 8 bits.
    """

    def __init__(
        self,
        first: VideoFrame,
        time_base: Fraction,
        rate: Fraction,
        aspect: Fraction | None = None,
        tags: Tags | None = None,
        sdr: bool = False,
    ) -> None:
        self._source = (first.width, first.height, first.format.name)
        self._turn = frame_orientation(first)
        self._kind = pixel_format(first.format.name)
        hdr = hdr_metadata(first)
        self._stored = frame_colors(first, tags, None if hdr is None else hdr.peak)
        self._tone_maps = sdr and self._stored.wide
        data = cast(Any, first.side_data).get(Type.DISPLAYMATRIX)
        self.look = VideoLook(
            width=first.width,
            height=first.height,
            pixel_format=working_format(first.format.name),
            time_base=time_base,
            rate=rate,
            matrix=self._stored.matrix,
            primaries=self._stored.primaries,
            transfer=self._stored.transfer,
            color_range=FULL_RANGE if self._stored.full else LIMITED_RANGE,
            display_matrix=None if data is None else tuple(np.frombuffer(bytes(data), dtype=np.int32)[:9].tolist()),
            aspect=aspect or Fraction(1),
            fields=field_order(first),
            hdr=hdr,
        )
        if self._tone_maps:
            kind = pixel_format(self.look.pixel_format)
            family = {(1, 1): "yuv420p", (1, 0): "yuv422p"}.get((kind.narrower, kind.lower), "yuv444p")
            self.look = replace(
                self.look, pixel_format=family, matrix=BT709_TAG, primaries=BT709_TAG, transfer=BT709_TAG,
                color_range=LIMITED_RANGE, hdr=None,
            )  # fmt: skip
            self._yuv = YuvMaker(family)
        elif self._kind.rgb:
            matrix = _BT2020_MATRIX_TAG if self._stored.primaries == BT2020_TAG else BT709_TAG
            self.look = replace(self.look, matrix=matrix, color_range=LIMITED_RANGE)

    def fits(self, frame: VideoFrame) -> bool:
        """Whether the frame has the size and format of the first."""
        return (frame.width, frame.height, frame.format.name) == self._source

    def __call__(self, frame: VideoFrame, pts: int, duration: int, key: bool) -> Picture:
        return Picture(self._frame(frame), self.look, self._turn, pts, duration, key)

    def _frame(self, frame: VideoFrame) -> VideoFrame:
        if self._tone_maps:
            return self._yuv(self._stored.rgb(frame))
        if is_planar_yuv(frame.format.name):
            return frame
        if self._kind.grey and not self._kind.alpha:
            return _grey_as_yuv(frame, self.look.pixel_format)
        matrix = source_matrix(self.look.matrix, frame.width, frame.height, self.look.primaries)
        own = ColorRange.JPEG if self._kind.rgb or self._stored.full else ColorRange.MPEG
        return VideoReformatter().reformat(
            frame,
            format=self.look.pixel_format,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=own,
            dst_color_range=self.look.colors.range,
            interpolation=CAREFUL,
            threads=1,
        )


def _grey_as_yuv(frame: VideoFrame, name: str) -> VideoFrame:
    """The grey plane as it is, and chroma without colour; the scaler would change the range."""
    depth = pixel_format(name).depth
    planar = "gray" if depth == 8 else f"gray{depth}le"
    if frame.format.name != planar:
        frame = VideoReformatter().reformat(frame, format=planar, threads=1)
    result = VideoFrame(frame.width, frame.height, name)
    luma, *chroma = plane_arrays(result)
    luma[:] = plane_arrays(frame)[0]
    for plane in chroma:
        plane[:] = 1 << (depth - 1)
    return result


def still_picture(
    image: np.ndarray,
    time_base: Fraction = Fraction(1, 25),
    rate: Fraction = Fraction(25),
    pts: int = 0,
    duration: int = 1,
    key: bool = True,
) -> Picture:
    """A picture from (H, W, 3) uint8 RGB, or (H, W, 4) with transparency: BT.709, 4:2:0."""
    frame = YuvMaker()(image[..., :3])
    if image.shape[2] == 4:
        colours, frame = frame, VideoFrame(frame.width, frame.height, "yuva420p")
        alpha = np.ascontiguousarray(image[..., 3])
        for target, plane in zip(plane_arrays(frame), [*plane_arrays(colours), alpha]):
            target[:] = plane
    look = VideoLook(frame.width, frame.height, frame.format.name, time_base, rate)
    return Picture(frame, look, Orientation(), pts, duration, key, rgb=np.ascontiguousarray(image[..., :3]))
