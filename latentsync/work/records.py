"""The record of done jobs: what came out of each, found again as long as its settings and its files are the same."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latentsync.work.files import write_whole


class Records:
    """One JSON file for each job in `folder`, under a name made from the job's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, job: str) -> Path:
        """Where a job's record lies; other results of it may lie beside it with another suffix."""
        return self.folder / f"{hashlib.sha256(job.encode()).hexdigest()[:16]}.json"

    def write(self, job: str, key: str, content: dict[str, Any]) -> None:
        """Keep what came out. key: see `job_key`. Raises OSError."""
        write_whole(self.path(job), json.dumps({"key": key, **content}))

    def read(self, job: str, key: str | None = None) -> dict[str, Any] | None:
        """What was kept of a job; with a key, only if it was done with just that. None: nothing, or damaged."""
        try:
            content = json.loads(self.path(job).read_text(encoding="utf-8"))
            return content if key is None or content["key"] == key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def job_key(settings: Any, files: Iterable[Path | None]) -> str:
    """Changes with the settings (JSON, other values by their text) and with the size or time of one of the files."""
    marks = [[str(path), *fingerprint(path)] for path in files if path is not None and path.is_file()]
    return hashlib.sha256(json.dumps([settings, marks], sort_keys=True, default=str).encode()).hexdigest()


def fingerprint(path: Path) -> list[int]:
    """Size and time of change of a file: another fingerprint, another content. Raises OSError."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
