"""Keeping a native library's chatter off the terminal, without losing it when something fails."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held_back_stderr() -> Iterator[None]:
    """Hold back what native code writes to the process's stderr; show it only if the block raises.

    mediapipe, TensorFlow Lite and SVT-AV1 write straight to file descriptor 2 at each start, and heed no setting.
    """
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except OSError:  # no stderr at all (a daemon): nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            if failed:
                held.seek(0)
                os.write(2, held.read())
