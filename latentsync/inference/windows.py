"""The model's clock and its windows: a person's successive frames at 25 a second, cut to what it sees at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from latentsync.face.alignment import AlignedFace
from latentsync.media.rates import FPS

# Time stamps are rounded in files, to 1 ms in Matroska: a frame this little late still counts as in time.
_TIME_TOLERANCE = 1.5e-3

T = TypeVar("T")


def frames_of_audio(seconds: float, fps: float = FPS) -> int:
    """How many frames accompany that much sound: the nearest whole number, at least 1."""
    return max(1, round(seconds * fps))


def model_frame(time: float) -> int:
    """The model's frame nearest to an output frame at `time` seconds; the later one of two."""
    return math.floor(time * FPS + 0.5)


def model_frames_before(time: float) -> int:
    """How many of the model's frames, at k / 25 s, come before an output frame at `time`: they show an earlier one."""
    return max(0, math.ceil((time - _TIME_TOLERANCE) * FPS))


def pad_to(items: Sequence[T], length: int) -> list[T]:
    """Repeat the last item until there are `length`: the network sees whole windows only. Raises ValueError on none."""
    if not 0 < len(items) <= length:
        raise ValueError(f"1 to {length} items can be padded to {length}, not {len(items)}")
    return [*items, *[items[-1]] * (length - len(items))]


@dataclass(frozen=True)
class FaceWindow:
    """Faces of one person in successive frames of the model, at most a window of them.

    index: counts a job's windows in the order they are filled; the random numbers of a window depend on it. track:
    the person. start: the first frame's number at 25 a second. shared: how many of the first frames the window before
    has as well, over which one fades into the other.
    """

    index: int
    track: int
    start: int
    crops: list[np.ndarray]
    shared: int


class WindowCutter:
    """Cuts the faces of one job into windows.

    size: most frames in a window. overlap: frames that neighbouring windows of a run share, fewer than `size`.
    """

    def __init__(self, size: int, overlap: int = 0) -> None:
        if not 0 <= overlap < size:
            raise ValueError(f"overlap must be 0 to {size - 1}, not {overlap}")
        self._size, self._overlap = size, overlap
        self._open: dict[int, FaceWindow] = {}
        self._count = 0

    def push(self, number: int, faces: dict[int, AlignedFace], cut: bool) -> list[FaceWindow]:
        """Take the model's next frame; windows that are complete with it, or that ended before it.

        A person who is not there, and a cut, end a run: the next window begins where it goes on.
        """
        done = [window for track in list(self._open) if cut or track not in faces for window in self._end(track)]
        for track, face in faces.items():
            window = self._open.setdefault(track, FaceWindow(-1, track, number, [], 0))
            window.crops.append(face.crop)
            if len(window.crops) == self._size:
                done += self._end(track)
                if self._overlap:
                    tail = window.crops[-self._overlap :]
                    start = window.start + self._size - self._overlap
                    self._open[track] = FaceWindow(-1, track, start, tail, len(tail))
        return done

    def end(self) -> list[FaceWindow]:
        """No more frames: the windows still open."""
        return [window for track in list(self._open) for window in self._end(track)]

    def is_open(self, track: int, number: int) -> bool:
        """Whether a window that is not complete yet holds this frame of the person."""
        window = self._open.get(track)
        return window is not None and number >= window.start

    def _end(self, track: int) -> list[FaceWindow]:
        window = self._open.pop(track)
        if len(window.crops) == window.shared:  # nothing in it that the window before does not have
            return []
        self._count += 1
        return [FaceWindow(self._count - 1, track, window.start, window.crops, window.shared)]
