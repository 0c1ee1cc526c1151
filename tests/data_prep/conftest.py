"""A folder of short synthetic talking heads with their landmarks, as raw video for data preparation."""

from pathlib import Path

import pytest
from raw_heads import draw_head, write_head


@pytest.fixture(scope="session")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """talk.mp4 (2 s) and again/talk.mp4 (4 s), of two people."""
    folder = tmp_path_factory.mktemp("heads")
    write_head(folder / "talk.mp4", draw_head(100_003))
    write_head(folder / "again" / "talk.mp4", draw_head(100_004, seconds=4.0))
    return folder
