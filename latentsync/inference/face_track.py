"""The faces to be driven, followed through a video: found, aligned; a picture shown twice is searched once."""

import struct
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from latentsync.face.alignment import AlignedFace, FaceAligner
from latentsync.face.landmarks import FaceFinder, large_enough
from latentsync.face.paste_back import paste_box
from latentsync.face.tracking import FaceTracker, is_frontal
from latentsync.inference.face_choice import FaceChoice
from latentsync.inference.frame_source import SourceFrame
from latentsync.inference.options import LipSyncOptions
from latentsync.media.cuts import CutDetector
from latentsync.media.picture import Patch, Picture

_RECORD = struct.Struct("<i?6d")


@dataclass(frozen=True)
class TrackedFrame:
    """A frame and its faces to be driven.

    faces: aligned, by the number of the person. interpolated: numbers of those that were not found but lie between two
    finds. cut: another scene begins here. patch: the part of the picture that the faces can be pasted into, so that
    the picture need not be kept, nor made again, in RGB; None: there is no such part.
    """

    source: SourceFrame
    faces: dict[int, AlignedFace]
    interpolated: frozenset[int]
    cut: bool
    patch: Patch | None


class FaceTrack:
    """Follows the faces to be driven through one video.

    finder: finds faces. resolution: side of the aligned crops. choice: who is driven, None: the largest face. A face
    that cannot be found for at most `longest_gap` seconds is put on the straight way between where it was and is; so
    frames come out up to that much late. Points are kept for each source picture (some 60 bytes a face), so that one
    shown again is not searched again, and the finder never sees a video that runs backwards.
    """

    def __init__(
        self, finder: FaceFinder, resolution: int, choice: FaceChoice | None = None, longest_gap: float = 0.25
    ) -> None:
        self._choice = choice or FaceChoice(LipSyncOptions(), finder)
        finder.reset()
        self._finder, self._resolution, self._longest_gap = finder, resolution, longest_gap
        self._tracker, self._cuts = FaceTracker(), CutDetector()
        self._found = _FoundFaces()
        self._aligners: dict[int, FaceAligner] = {}
        self._waiting: deque[SourceFrame] = deque()
        self._seen: dict[int, _Seen] = {}  # where each face was when it was last found, not long ago
        self._last_index = -1

    def follow(self, frames: Iterable[SourceFrame]) -> Iterator[TrackedFrame]:
        """The same frames in the same order, with their faces."""
        for frame in frames:
            if frame.index < len(self._found):  # shown again: all is known
                self._seen.clear()
                self._waiting.append(frame)
                yield from self._release(len(self._waiting))
                continue
            if self._search(frame):
                yield from self._release(len(self._waiting))
            self._waiting.append(frame)
            # A face that went away may be back soon: what came after it is held until then.
            gone = min((seen.index for seen in self._seen.values() if seen.index < frame.index), default=frame.index)
            yield from self._release(sum(waiting.index <= gone for waiting in self._waiting))
        yield from self._release(len(self._waiting))

    def _search(self, frame: SourceFrame) -> bool:
        """Find the frame's faces and fill short gaps before it; whether another scene begins with it."""
        cut = self._cuts(frame.image)
        if cut:
            self._tracker.restart()
            self._choice.restart()
            self._seen.clear()
        usable = [face for face in large_enough(self._finder.find(frame.image, frame.time)) if is_frontal(face)]
        chosen = self._choice(self._tracker.update(usable, frame.time), frame.image, self._tracker.knows)
        self._found.append({tracked.track: tracked.face.landmarks3 for tracked in chosen}, cut)
        self._seen = {track: seen for track, seen in self._seen.items() if frame.time - seen.time <= self._longest_gap}
        for tracked in chosen:
            now = _Seen(frame.index, frame.time, tracked.face.landmarks3)
            self._fill(tracked.track, now)
            self._seen[tracked.track] = now
        return cut

    def _fill(self, track: int, now: "_Seen") -> None:
        """Put a face that was away in some waiting frames on the straight way between its last find and this one."""
        before = self._seen.get(track)
        if before is None:
            return
        for frame in self._waiting:
            if before.index < frame.index < now.index:
                share = (frame.time - before.time) / (now.time - before.time)
                self._found.add(frame.index, track, (1 - share) * before.points + share * now.points)

    def _release(self, count: int) -> Iterator[TrackedFrame]:
        for _ in range(count):
            yield self._aligned(self._waiting.popleft())

    def _aligned(self, frame: SourceFrame) -> TrackedFrame:
        """Cut the faces out; a face that was not there in the frame before is smoothed anew."""
        cut = frame.jump or self._found.cut_between(self._last_index, frame.index)
        self._last_index = frame.index
        points = self._found.points(frame.index)
        if cut:
            self._aligners.clear()
        self._aligners = {track: self._aligners.get(track) or FaceAligner(self._resolution) for track in points}
        faces = {track: self._aligners[track].align(frame.image, three) for track, three in points.items()}
        patch = _patch_of(frame.picture, faces)
        frame.picture.forget()
        return TrackedFrame(frame, faces, self._found.interpolated(frame.index), cut, patch)


def _patch_of(picture: Picture, faces: dict[int, AlignedFace]) -> Patch | None:
    """The smallest that holds all that pasting the faces can touch."""
    boxes = [paste_box(face.matrix, len(face.crop), picture.rgb.shape[:2]) for face in faces.values()]
    edges = list(zip(*(box for box in boxes if box is not None)))
    if not edges:
        return None
    tops, bottoms, lefts, rights = edges
    return picture.patch((min(tops), max(bottoms), min(lefts), max(rights)))


@dataclass(frozen=True)
class _Seen:
    """A face when it was last found; points: (3, 2)."""

    index: int
    time: float
    points: np.ndarray


class _FoundFaces:
    """The points of chosen faces of every source picture, packed: hours of video have hundreds of thousands."""

    def __init__(self) -> None:
        self._faces: list[bytes] = []  # a picture: records of (track, interpolated, 6 coordinates)
        self._cuts: set[int] = set()

    def __len__(self) -> int:
        return len(self._faces)

    def append(self, points: dict[int, np.ndarray], cut: bool) -> None:
        """The faces of the next picture; cut: another scene begins with it."""
        if cut:
            self._cuts.add(len(self._faces))
        self._faces.append(b"".join(_record(track, False, three) for track, three in points.items()))

    def add(self, index: int, track: int, points: np.ndarray) -> None:
        """An interpolated face."""
        self._faces[index] += _record(track, True, points)

    def points(self, index: int) -> dict[int, np.ndarray]:
        """(3, 2) float64 points of each track."""
        return {track: np.array(three).reshape(3, 2) for track, _, *three in _RECORD.iter_unpack(self._faces[index])}

    def interpolated(self, index: int) -> frozenset[int]:
        """The tracks that were not found there."""
        return frozenset(track for track, guess, *_ in _RECORD.iter_unpack(self._faces[index]) if guess)

    def cut_between(self, one: int, other: int) -> bool:
        """Whether two pictures, neighbours in either direction, belong to two scenes."""
        return one >= 0 and one != other and max(one, other) in self._cuts


def _record(track: int, interpolated: bool, points: np.ndarray) -> bytes:
    return _RECORD.pack(track, interpolated, *np.asarray(points, dtype=np.float64).ravel().tolist())
