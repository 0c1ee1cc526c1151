"""What is kept of each source between runs: its record, measured but not judged, its clips, its shots and faces.

`OUTPUT/work/<source_id>/` appears, complete, by one rename: it is there and finished, or it is not there.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep.limits import judge
from data_prep.manifest import ACCEPTED, Limits, Row
from data_prep.parts import Measuring
from data_prep.seeing import whole
from data_prep.sources import Source
from latentsync.work.files import folder_written_whole, remove_leftovers

RECORD_VERSION = 3
"""Raised whenever the same settings would measure something else: everything is then measured anew."""
_RECORD = "record.json"
NOTES = "seen.gz"  # shots and faces


@dataclass(frozen=True)
class Record:
    """rows: of the manifest, those of candidates without a fate; with "metadata" where the clip is encoded.
    seconds: what each stage took."""

    rows: list[Row]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Earlier:
    """What is still good of a source's record though its settings have changed. notes: its shots and faces, None =
    they must be found anew. rows: of candidates; one that is cut alike again is not measured again. folder: where
    their clips lie."""

    notes: Path | None = None
    rows: list[Row] = field(default_factory=list)
    folder: Path = Path()


class Store:
    """The folder of records.

    measuring, scorer: what measurements depend on; a record of others is not read. The settings are kept in three
    marks: what shots and faces depend on, what the measurements of a clip depend on, and how the clips are cut.
    """

    def __init__(self, folder: Path, measuring: Measuring, scorer: Any = None) -> None:
        self.folder = folder
        self._settings = {
            "seen": _mark(measuring.seen_with),
            "measured": _mark([measuring.measured_with, scorer]),
            "cut": _mark(measuring.cut_with),
        }

    def clean(self) -> None:
        """Remove what killed runs left behind."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder)

    def read(self, source: Source) -> Record | None:
        """The record of a source, or None: none yet, of other settings, of another file of that name, or damaged."""
        same, record = self._stored(source)
        return record if same == set(self._settings) else None

    def earlier(self, source: Source) -> Earlier:
        """What need not be done again for a source without a record of these settings."""
        same, record = self._stored(source)
        folder = self.folder / source.id
        notes = folder / NOTES if "seen" in same and whole(folder / NOTES) else None
        rows = record.rows if record is not None and {"seen", "measured"} <= same else []
        return Earlier(notes, [row for row in rows if row["level"] == "clip"], folder)

    def _stored(self, source: Source) -> tuple[set[str], Record | None]:
        """The marks that a source's record shares with these settings, and the record; none of another file."""
        try:
            stored = json.loads((self.folder / source.id / _RECORD).read_text(encoding="utf-8"))
            if stored["fingerprint"] != source.fingerprint():
                return set(), None
            same = {name for name, mark in self._settings.items() if stored["settings"][name] == mark}
            return same, Record(stored["rows"], stored["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            return set(), None

    def complete(self, source: Source, limits: Limits) -> bool:
        """Whether the source is measured, and each clip that the limits accept is encoded."""
        record = self.read(source)
        return record is not None and all(
            "metadata" in row for row in record.rows if judge(row, limits)["fate"] == ACCEPTED
        )

    def writing(self, source: Source) -> AbstractContextManager[Path]:
        """A folder to write the clips of a source into, and at last `write`; see `folder_written_whole`."""
        return folder_written_whole(self.folder / source.id)

    def write(self, source: Source, part: Path, record: Record) -> None:
        """Put the record of a source into the folder `part` that is being written."""
        content = {
            "settings": self._settings,
            "fingerprint": source.fingerprint(),
            "source": source.name,
            "rows": record.rows,
            "seconds": record.seconds,
        }
        (part / _RECORD).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _mark(settings: Any) -> str:
    return hashlib.sha256(json.dumps([RECORD_VERSION, settings], sort_keys=True).encode()).hexdigest()
