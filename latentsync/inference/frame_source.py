"""The input's frames at 25 a second, as many as asked for: cut, or played forwards and backwards, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from latentsync.inference.plan import FPS
from latentsync.media.frames import read_frames_at, read_image
from latentsync.media.probe import is_image

# Playing backwards decodes a stretch of the video and holds this much of it.
_REVERSE_BYTES = 256 * 2**20
_REVERSE_FRAMES_AT_LEAST = 16


@dataclass(frozen=True)
class SourceFrame:
    """index: its number in the input at 25 frames a second; image: (H, W, 3) uint8 RGB, not to be written to."""

    index: int
    image: np.ndarray

    @property
    def time(self) -> float:
        """Seconds from the input's first frame."""
        return self.index / FPS


def source_frames(path: str | Path, num_frames: int, reverse_bytes: int = _REVERSE_BYTES) -> Iterator[SourceFrame]:
    """Exactly `num_frames` frames of a picture or a video; see `plan.ping_pong_index` for what follows its last one.

    A picture is a video of one frame. Memory: one frame; while playing backwards, at most about `reverse_bytes` (16
    frames at least) of decoded video, at the price of decoding what comes before such a stretch once more.
    Raises UserError, when iterated, for what cannot be read.
    """
    if is_image(path):
        image = read_image(path)
        for _ in range(num_frames):
            yield SourceFrame(0, image)
        return

    length = 0
    for frame in islice(_forwards(path), num_frames):
        yield frame
        length = frame.index + 1
    left, backwards = num_frames - length, True
    while left > 0:
        frames = _backwards(path, length, reverse_bytes) if backwards else _forwards(path)
        yield from islice(frames, min(left, length))
        left, backwards = left - min(left, length), not backwards


def _forwards(path: str | Path) -> Iterator[SourceFrame]:
    for index, image in enumerate(read_frames_at(path, FPS)):
        yield SourceFrame(index, image)


def _backwards(path: str | Path, length: int, reverse_bytes: int) -> Iterator[SourceFrame]:
    """Frames length−1 … 0, decoded in stretches from the back."""
    first = next(_forwards(path))
    stretch = max(_REVERSE_FRAMES_AT_LEAST, reverse_bytes // first.image.nbytes)
    for stop in range(length, 0, -stretch):
        frames = list(islice(_forwards(path), max(0, stop - stretch), stop))
        while frames:
            yield frames.pop()
