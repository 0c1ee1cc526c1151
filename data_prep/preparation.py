"""What a worker does with a source, and what is kept of it between runs: rows, measured but not judged, and clips.

`OUTPUT/work/<source_id>/` appears, complete, by one rename: it is there and finished, or it is not there.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.av_offset import ScorerMaker
from data_prep.candidate import Rejected
from data_prep.limits import judge
from data_prep.manifest import ACCEPTED, Limits, Row
from data_prep.parts import Measuring, Parts
from data_prep.source_pass import SourcePass
from data_prep.sources import Source
from latentsync.work.files import folder_written_whole, remove_leftovers
from latentsync.work.runner import Alive

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
        remove_leftovers(self.folder)

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


class Preparation:
    """`work` of a runner; returns the seconds that each stage took.

    output: the run's folder; make_scorer: loads the sync scorer, None leaves that stage out; limits: candidates that
    they reject are encoded only if keep_rejected.
    """

    def __init__(
        self,
        output: Path,
        store: Store,
        measuring: Measuring,
        limits: Limits,
        make_scorer: ScorerMaker | None,
        keep_rejected: bool,
    ) -> None:
        self.output, self.store, self.limits, self.keep_rejected = output, store, limits, keep_rejected
        self._measuring, self._make_scorer = measuring, make_scorer
        self._parts: Parts | None = None

    @property
    def modules(self) -> list[str]:
        """What a worker imports, for runners that can do so once for all of them."""
        return [__name__, *([self._make_scorer.module] if self._make_scorer else [])]

    def __call__(self, source: Source, alive: Alive) -> dict[str, float]:
        """See the class. Raises OSError where the results cannot be written, UserError for what no source would escape:
        weights that are missing, settings out of range."""
        if self._parts is None:
            self._parts = Parts(self._measuring, self._make_scorer)
        encoded = None if self.keep_rejected else self.limits
        with self.store.writing(source) as folder:
            work = SourcePass(source, folder, self.output, self._parts, encoded)
            try:
                work.run(alive)
            except Rejected as rejected:
                work.reject(rejected)
            self.store.write(source, folder, Record(work.rows, work.clock.seconds))
        return work.clock.seconds
