"""The display matrix of a video frame: how stored pixels are turned and mirrored to stand upright."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

Box = tuple[int, int, int, int]
"""A rectangle of a picture: rows [top, bottom), columns [left, right)."""


@dataclass(frozen=True)
class Orientation:
    """Swap rows and columns first, then mirror: all eight ways to lay a rectangle on a screen.

    rotation: degrees clockwise by which the stored picture is turned (0, 90, 180, 270).
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False
    rotation: int = 0

    def upright(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) as stored to as seen, contiguous."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        image = image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return np.ascontiguousarray(image)

    def stored(self, image: np.ndarray) -> np.ndarray:
        """What `upright` makes into `image`: (H, W, 3) as seen to as stored, a view."""
        image = image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1]
        return image.transpose(1, 0, 2) if self.transpose else image

    def stored_box(self, box: Box, height: int, width: int) -> Box:
        """Where `stored` puts a rectangle of the picture as seen; height, width: of the picture as stored."""
        if self.transpose:
            height, width = width, height
        top, bottom, left, right = box
        rows = (height - bottom, height - top) if self.flip_y else (top, bottom)
        columns = (width - right, width - left) if self.flip_x else (left, right)
        return (*columns, *rows) if self.transpose else (*rows, *columns)


def frame_orientation(frame: VideoFrame) -> Orientation:
    """Read it from the frame's side data; a frame without one is upright.

    The matrix maps stored (x, y) to shown (a·x + c·y, b·x + d·y); 16.16 fixed point, rows (a, b, u), (c, d, v), (x,
    y, w).
    """
    data = cast(Any, frame.side_data).get(Type.DISPLAYMATRIX)
    if data is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(data), dtype=np.int32)[:5].tolist()
    rotation = round(math.degrees(math.atan2(b, a)) / 90) % 4 * 90
    if abs(a) >= abs(b):
        return Orientation(False, a < 0, d < 0, rotation)
    return Orientation(True, c < 0, b < 0, rotation)
