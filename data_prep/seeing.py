"""The shots and faces of a source: found and written down, or read from what was written down when it was seen before.

Finding faces is most of what a source costs, and does not depend on how clips are cut, aligned or encoded.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep.shots import ShotFrame, ShotSplitter
from latentsync.face.landmarks import Face, FaceFinder, face_from_mesh
from latentsync.media.frames import SteadyFrame
from latentsync.media.rates import FPS

_FRAME = struct.Struct("<IBB")  # number, how its shot goes on, faces; then for each face:
_POINTS = struct.Struct("<H")  # points, and their x and y as int32, less those of the face at its place before
_BEGINS = (None, "start", "cut", "dissolve")
_FINENESS = 256  # steps of a pixel: a tenth of what landmarks tremble by
_LEVEL = 3  # of the compression: 3 MB a minute and face


class Seeing(Protocol):
    """A `ShotSplitter` and a `FaceFinder` for the frames that it gives, in one."""

    def push(self, frame: SteadyFrame) -> Iterator[ShotFrame]: ...

    def flush(self) -> Iterator[ShotFrame]: ...

    def find(self, frame: np.ndarray, time: float) -> list[Face]: ...

    def reset(self) -> None: ...

    def close(self) -> None: ...


class Looking:
    """Looks for shots and faces. notes: a file to write down what is found, so that `Remembering` gives just the same;
    of faces that have a mesh alone. None = nothing is written."""

    def __init__(self, splitter: ShotSplitter, finder: FaceFinder, notes: Path | None = None) -> None:
        self._splitter, self._finder = splitter, finder
        self._file = None if notes is None else gzip.GzipFile(notes, "wb", _LEVEL, mtime=0)
        self._begins: dict[int, str | None] = {}
        self._before: dict[int, np.ndarray] = {}

    def push(self, frame: SteadyFrame) -> Iterator[ShotFrame]:
        """See `ShotSplitter`."""
        return self._remember(self._splitter.push(frame))

    def flush(self) -> Iterator[ShotFrame]:
        """See `ShotSplitter`."""
        return self._remember(self._splitter.flush())

    def find(self, frame: np.ndarray, time: float) -> list[Face]:
        """See `FaceFinder`."""
        faces = self._finder.find(frame, time)
        if self._file is None:
            return faces
        index = round(time * FPS)
        self._file.write(_FRAME.pack(index, _BEGINS.index(self._begins.pop(index)), len(faces)))
        return [self._noted(place, face) for place, face in enumerate(faces)]

    def reset(self) -> None:
        """See `FaceFinder`."""
        self._finder.reset()

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()

    def _remember(self, frames: Iterator[ShotFrame]) -> Iterator[ShotFrame]:
        for shot_frame in frames:
            if self._file is not None:
                self._begins[shot_frame.frame.index] = shot_frame.begin
            yield shot_frame

    def _noted(self, place: int, face: Face) -> Face:
        """The face as it is written down: what is measured of it now must not differ from what will be then."""
        assert self._file is not None
        assert face.mesh is not None
        points = np.rint(face.mesh * _FINENESS).astype("<i4")
        self._file.write(_POINTS.pack(len(points)) + (points - _of_size(self._before, place, points)).tobytes())
        self._before[place] = points
        return face_from_mesh(points / _FINENESS)


class Remembering:
    """Gives again what a `Looking` has found in the same video. notes: its file, which must be `whole`."""

    def __init__(self, notes: Path) -> None:
        self._file = gzip.GzipFile(notes, "rb")
        self._before: dict[int, np.ndarray] = {}
        self._found: dict[int, list[Face]] = {}
        self._shot = -1
        self._next = self._read()

    def push(self, frame: SteadyFrame) -> Iterator[ShotFrame]:
        """See `ShotSplitter`."""
        if self._next is None or self._next[0] != frame.index:
            return  # in a dissolve
        index, begin, self._found[index] = self._next
        self._shot += begin is not None
        self._next = self._read()
        yield ShotFrame(frame, self._shot, begin)

    def flush(self) -> Iterator[ShotFrame]:
        """Nothing is held back."""
        return iter(())

    def find(self, frame: np.ndarray, time: float) -> list[Face]:
        """See `FaceFinder`."""
        return self._found.pop(round(time * FPS))

    def reset(self) -> None:
        """There is one video, and it is at its start."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> tuple[int, str | None, list[Face]] | None:
        head = self._file.read(_FRAME.size)
        if not head:
            return None
        index, begin, count = _FRAME.unpack(head)
        return index, _BEGINS[begin], [self._face(place) for place in range(count)]

    def _face(self, place: int) -> Face:
        (count,) = _POINTS.unpack(self._file.read(_POINTS.size))
        points = np.frombuffer(self._file.read(8 * count), dtype="<i4").reshape(count, 2)
        self._before[place] = points + _of_size(self._before, place, points)
        return face_from_mesh(self._before[place] / _FINENESS)


def whole(notes: Path) -> bool:
    """Whether notes are there, and as they were written."""
    try:
        with gzip.open(notes, "rb") as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error):
        return False
    return True


def _of_size(before: dict[int, np.ndarray], place: int, points: np.ndarray) -> np.ndarray | int:
    """The points last seen at a place, to take the difference from; 0 where they were of another mesh."""
    known = before.get(place)
    return 0 if known is None or known.shape != points.shape else known
