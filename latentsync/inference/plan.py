"""Which frames are generated together, and which source frame each output frame shows: pure arithmetic."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

FPS = 25

T = TypeVar("T")


@dataclass(frozen=True)
class Window:
    """Output frames [start, start + count) that go through the network together; `index` counts windows from 0."""

    index: int
    start: int
    count: int

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.start + self.count


def frames_of_audio(seconds: float, fps: int = FPS) -> int:
    """How many frames accompany that much sound: the nearest whole number, at least 1."""
    return max(1, round(seconds * fps))


def plan_windows(num_frames: int, window: int) -> Iterator[Window]:
    """Cut num_frames ≥ 0 into windows of `window` frames, one after the other, no overlap; the last may be shorter.

    Raises ValueError for a window below 1 or a negative number of frames.
    """
    if window < 1 or num_frames < 0:
        raise ValueError(f"window must be ≥ 1 and num_frames ≥ 0, not {window} and {num_frames}")
    for index, start in enumerate(range(0, num_frames, window)):
        yield Window(index, start, min(window, num_frames - start))


def pad_to(items: Sequence[T], length: int) -> list[T]:
    """Repeat the last item until there are `length`: the network sees whole windows only. Raises ValueError on none."""
    if not 0 < len(items) <= length:
        raise ValueError(f"1 to {length} items can be padded to {length}, not {len(items)}")
    return [*items, *[items[-1]] * (length - len(items))]


def ping_pong_index(position: int, num_source: int) -> int:
    """The source frame shown at output `position`: 0 … n−1, n−1 … 0, 0 … n−1 and so on (as published, ends twice)."""
    cycle, offset = divmod(position, num_source)
    return offset if cycle % 2 == 0 else num_source - 1 - offset
