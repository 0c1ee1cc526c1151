"""Being told to stop: SIGTERM unwinds like Ctrl-C, so that nothing half-written stays behind."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


@contextmanager
def unwind_on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated` in the main thread; outside the main thread this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def stopped_with(message: str) -> Iterator[None]:
    """For a command: Ctrl-C and SIGTERM end it with one line and, as shells have it, exit code 130 or 143."""
    try:
        with unwind_on_sigterm():
            yield
    except KeyboardInterrupt as stop:
        print(message, file=sys.stderr)
        sys.exit(143 if isinstance(stop, Terminated) else 130)
