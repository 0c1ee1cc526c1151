"""Faces that are small beside their picture: searched in parts of it, then followed where they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from latentsync.face.landmarks import Face

# A detector that sees the whole picture at 128 to 256 pixels finds a face of a tenth of its longer side.
_SMALLEST_PART = 320
_WINDOW = 4.0  # side of the part in which a face is looked for again, in sizes of the face
_SAME = 0.5  # share of the smaller box that lies in the other, from which both are one face
_SECONDS_BETWEEN = 1.0
_MOST_SECONDS_BETWEEN = 8.0


class PartSearch:
    """Searches parts of a video's pictures, for a detector that needs a face to fill a tenth of what it is shown.

    detect: all faces of one picture, (H, W, 3) uint8 RGB, contiguous. A search of all parts costs many detections, so
    it is done at most once a second of the video, and ever more rarely, up to 8 seconds, while it finds nothing.
    """

    def __init__(self, detect: Callable[[np.ndarray], list[Face]]) -> None:
        self._detect = detect
        self.reset()

    def reset(self) -> None:
        """Forget the video."""
        self._known: list[Face] = []
        self._next_search, self._pause = -np.inf, _SECONDS_BETWEEN

    def follow(self, frame: np.ndarray, time: float) -> list[Face]:
        """The faces found last, where they are now; none if one is lost, or if all is to be searched anew."""
        if not self._known or time >= self._next_search:
            self._known = []
            return []
        height, width = frame.shape[:2]
        parts = [_part_around(face, width, height) for face in self._known]
        found = _distinct([face for part in parts for face in self._faces_in(frame, part)])
        self._known = found if len(found) >= len(self._known) else []
        return self._known

    def search(self, frame: np.ndarray, time: float) -> list[Face]:
        """Look through all parts, large ones first, and end with those of the first size that shows a face."""
        if time < self._next_search:
            return []
        height, width = frame.shape[:2]
        self._known = []
        side = max(width, height) // 2
        while side >= _SMALLEST_PART and not self._known:
            parts = list(_parts(width, height, side))
            self._known = _distinct([face for part in parts for face in self._faces_in(frame, part)])
            side //= 2
        self._pause = _SECONDS_BETWEEN if self._known else min(_MOST_SECONDS_BETWEEN, 2 * self._pause)
        self._next_search = time + self._pause
        return self._known

    def _faces_in(self, frame: np.ndarray, part: tuple[int, int, int, int]) -> list[Face]:
        left, top, right, bottom = part
        faces = self._detect(np.ascontiguousarray(frame[top:bottom, left:right]))
        return [_shifted(face, left, top) for face in faces]


def _parts(width: int, height: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """(left, top, right, bottom) of squares that cover a picture and overlap by half of their side at least."""
    across, down = min(side, width), min(side, height)
    for left, top in product(_starts(width, across), _starts(height, down)):
        yield left, top, left + across, top + down


def _starts(length: int, part: int) -> list[int]:
    count = 1 + -(-(length - part) // max(1, part // 2))
    return [round(place) for place in np.linspace(0, length - part, count)]


def _part_around(face: Face, width: int, height: int) -> tuple[int, int, int, int]:
    side = _WINDOW * max(face.width, face.height)
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    left, top = max(0, round(x - side / 2)), max(0, round(y - side / 2))
    return left, top, min(width, round(x + side / 2)), min(height, round(y + side / 2))


def _shifted(face: Face, x: float, y: float) -> Face:
    """The face of a part, in the whole picture."""
    by = np.array([x, y], dtype=np.float64)
    left, top, right, bottom = face.box
    return replace(
        face,
        landmarks3=face.landmarks3 + by,
        box=(left + x, top + y, right + x, bottom + y),
        mesh=None if face.mesh is None else face.mesh + by,
    )


def _distinct(faces: list[Face]) -> list[Face]:
    """Each face once, though parts overlap: the larger of two that are one, as the other may be cut off."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: face.width * face.height, reverse=True):
        if all(_shared(face, other) < _SAME for other in kept):
            kept.append(face)
    return kept


def _shared(one: Face, other: Face) -> float:
    """How much of the smaller box lies in the other one."""
    width = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
    height = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min(one.width * one.height, other.width * other.height)
