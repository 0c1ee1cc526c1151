"""What is kept of each source between runs: its rows, measured but not judged, and its encoded clips.

`OUTPUT/work/<source_id>/` appears, complete, by one rename: it is there and finished, or it is not there.
"""

import errno
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.limits import judge
from data_prep.manifest import ACCEPTED, Limits, Row
from data_prep.sources import Source

RECORD_VERSION = 2
"""Raised whenever the same settings would measure something else: everything is then measured anew."""
_RECORD = "record.json"


@dataclass(frozen=True)
class Record:
    """rows: of the manifest, those of candidates without a fate; with "metadata" where the clip is encoded.
    seconds: what each stage took."""

    rows: list[Row]
    seconds: dict[str, float]


class Store:
    """The folder of records. measured_with: the settings that measurements depend on; a record of others is none."""

    def __init__(self, folder: Path, measured_with: Any) -> None:
        self.folder = folder
        settings = json.dumps([RECORD_VERSION, measured_with], sort_keys=True)
        self._settings = hashlib.sha256(settings.encode()).hexdigest()

    def clean(self) -> None:
        """Remove what killed runs left behind."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".*.part"):
            shutil.rmtree(path, ignore_errors=True)

    def read(self, source: Source) -> Record | None:
        """The record of a source, or None: none yet, of other settings, of another file of that name, or damaged."""
        try:
            stored = json.loads((self.folder / source.id / _RECORD).read_text(encoding="utf-8"))
            if stored["settings"] != self._settings or stored["fingerprint"] != source.fingerprint():
                return None
            return Record(stored["rows"], stored["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def complete(self, source: Source, limits: Limits) -> bool:
        """Whether the source is measured, and each clip that the limits accept is encoded."""
        record = self.read(source)
        return record is not None and all(
            "metadata" in row for row in record.rows if judge(row, limits)["fate"] == ACCEPTED
        )

    @contextmanager
    def writing(self, source: Source) -> Iterator[Path]:
        """A folder to write the clips of a source into; `finish` makes it last, leaving the block removes the rest."""
        part = self.folder / f".{source.id}.{secrets.token_hex(4)}.part"
        part.mkdir(parents=True)
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def finish(self, source: Source, part: Path, record: Record) -> None:
        """Let `part` be the folder of the source, with this record."""
        content = {
            "settings": self._settings,
            "fingerprint": source.fingerprint(),
            "source": source.name,
            "rows": record.rows,
            "seconds": record.seconds,
        }
        (part / _RECORD).write_text(json.dumps(content, indent=1), encoding="utf-8")
        final, before = self.folder / source.id, part.with_name(f"{part.name.removesuffix('.part')}.old.part")
        while not _renamed(part, final):
            with suppress(FileNotFoundError):
                final.rename(before)
            shutil.rmtree(before, ignore_errors=True)


def _renamed(part: Path, final: Path) -> bool:
    """Rename a folder; False where another one is in its place."""
    try:
        part.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True
