"""The model's clock against the output's, and which source frame is shown when: pure arithmetic."""

import math
from collections.abc import Sequence
from typing import TypeVar

FPS = 25

# Time stamps are rounded in files, to 1 ms in Matroska: a frame this little late still counts as in time.
_TIME_TOLERANCE = 1.5e-3

T = TypeVar("T")


def frames_of_audio(seconds: float, fps: float = FPS) -> int:
    """How many frames accompany that much sound: the nearest whole number, at least 1."""
    return max(1, round(seconds * fps))


def pad_to(items: Sequence[T], length: int) -> list[T]:
    """Repeat the last item until there are `length`: the network sees whole windows only. Raises ValueError on none."""
    if not 0 < len(items) <= length:
        raise ValueError(f"1 to {length} items can be padded to {length}, not {len(items)}")
    return [*items, *[items[-1]] * (length - len(items))]


def ping_pong_index(position: int, num_source: int) -> int:
    """The source frame shown at output `position`: 0 … n−1, n−1 … 0, 0 … n−1 and so on (as published, ends twice)."""
    cycle, offset = divmod(position, num_source)
    return offset if cycle % 2 == 0 else num_source - 1 - offset


def model_frame(time: float) -> int:
    """The model's frame nearest to an output frame at `time` seconds; the later one of two."""
    return math.floor(time * FPS + 0.5)


def model_frames_before(time: float) -> int:
    """How many of the model's frames, at k / 25 s, come before an output frame at `time`: they show an earlier one."""
    return max(0, math.ceil((time - _TIME_TOLERANCE) * FPS))
