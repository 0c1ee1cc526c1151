"""Following faces from frame to frame, so that each keeps its number while others come and go."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from latentsync.face.landmarks import Face

# A face that moved by less than this share of its size, and changed its size by less than this factor, is the same.
_FARTHEST = 0.6
_MOST_GROWTH = 1.8
# Where the nose may stand between the brows (0 and 1); beyond, the face is seen from the side.
_NOSE_BETWEEN = (-0.15, 1.15)


@dataclass(frozen=True)
class TrackedFace:
    """A face with the number of the person it follows, counted in the order of appearance."""

    track: int
    face: Face


class FaceTracker:
    """Gives the faces of successive frames numbers that stay.

    min_overlap: intersection over union of a face's boxes from frame to frame, below which its distance decides.
    forget_seconds: how long a face may be away and still be the same.
    """

    def __init__(self, min_overlap: float = 0.3, forget_seconds: float = 2.0) -> None:
        self._min_overlap, self._forget_seconds = min_overlap, forget_seconds
        self._seen: dict[int, tuple[float, Face]] = {}
        self._next = 0

    def restart(self) -> None:
        """Another scene: nobody in it has been seen before."""
        self._seen.clear()

    def knows(self, track: int) -> bool:
        """Whether the face is there or was there not long ago."""
        return track in self._seen

    def update(self, faces: Iterable[Face], time: float) -> list[TrackedFace]:
        """Number the faces of the frame at `time` seconds, which must not go back; best matches first."""
        self._seen = {
            track: (last, face) for track, (last, face) in self._seen.items() if time - last <= self._forget_seconds
        }
        faces = list(faces)
        matches = sorted(
            (-self._likeness(face, seen), track, number)
            for number, face in enumerate(faces)
            for track, (_, seen) in self._seen.items()
        )
        taken: dict[int, int] = {}  # face number -> track
        for negative, track, number in matches:
            if negative < 0 and number not in taken and track not in taken.values():
                taken[number] = track
        for number in range(len(faces)):
            if number not in taken:
                taken[number] = self._next
                self._next += 1
        for number, track in taken.items():
            self._seen[track] = (time, faces[number])
        return [TrackedFace(taken[number], face) for number, face in enumerate(faces)]

    def _likeness(self, face: Face, seen: Face) -> float:
        """> 0 for a face that can be the one seen before: above 1 by overlap, below 1 by distance."""
        shared = overlap(face.box, seen.box)
        if shared >= self._min_overlap:
            return 1 + shared
        size, before = (float(np.sqrt(max(1e-9, one.width * one.height))) for one in (face, seen))
        if max(size, before) > _MOST_GROWTH * min(size, before):
            return 0.0
        moved = float(np.linalg.norm(face.landmarks3.mean(axis=0) - seen.landmarks3.mean(axis=0)))
        return max(0.0, 1 - moved / (_FARTHEST * before))


def is_frontal(face: Face) -> bool:
    """Whether both brows and the nose are seen from the front enough to be aligned."""
    left, right, nose = face.landmarks3
    across = right - left
    length = float(across @ across)
    if length < 1:
        return False
    return _NOSE_BETWEEN[0] <= float((nose - left) @ across) / length <= _NOSE_BETWEEN[1]


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)
