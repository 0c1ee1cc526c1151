"""A folder of short synthetic talking heads with their landmarks, as raw video for data preparation."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clean_process import Forker
from raw_heads import draw_head, write_head


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """talk.mp4 (2 s) and again/talk.mp4 (4 s), of two people."""
    folder = tmp_path_factory.mktemp("heads")
    write_head(folder / "talk.mp4", draw_head(100_003))
    write_head(folder / "again" / "talk.mp4", draw_head(100_004, seconds=4.0))
    return folder


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """Starts processes that may be killed."""
    with Forker() as started:
        yield started
