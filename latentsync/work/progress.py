"""How far a long job is: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

Progress = Callable[[float, int], None]
"""Told (frames done, with fractions; frames in all)."""

_LINE_EVERY_SECONDS = 15.0


class ProgressBar:
    """A `Progress` for people; a context manager. stream: where it writes, default stderr."""

    def __init__(self, title: str = "frames", stream: TextIO | None = None) -> None:
        self._title = title
        self._stream = stream or sys.stderr
        self._bar: tqdm | None = None
        self._start = self._last_line = time.monotonic()

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: float, total: int) -> None:
        if self._stream.isatty():
            self._draw(done, total)
        else:
            self._tell(done, total)

    def _draw(self, done: float, total: int) -> None:
        if self._bar is None:
            layout = "{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total} [{elapsed}<{remaining}]"
            self._bar = tqdm(total=total, desc=self._title, file=self._stream, bar_format=layout)
        self._bar.update(done - self._bar.n)

    def _tell(self, done: float, total: int) -> None:
        now = time.monotonic()
        if now - self._last_line < _LINE_EVERY_SECONDS:
            return
        self._last_line = now
        left = f"{(now - self._start) * (total - done) / done:.0f} s left" if done else "time left not known yet"
        print(f"{self._title}: {done:.0f} of {total}, {left}", file=self._stream, flush=True)
