"""How long each stage takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from data_prep.manifest import STAGES


class StageClock:
    """Seconds spent in each stage, summed up."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what runs inside for this stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start
