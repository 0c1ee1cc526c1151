"""Which shards a source's clips go to, train, val or test.

A hash of its name, or of its speaker's, tells: no source and no speaker is in two, and later sources move none.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from latentsync.errors import UserError

TRAIN, VAL, TEST = PARTS = ("train", "val", "test")
_KINDS = ("source", "speaker")


@dataclass(frozen=True)
class Split:
    """by: what stays together, "source" or "speaker"; None = no split. val, test: the share of the sources or speakers
    that each gets, on the average; train gets the rest. speaker: a regular expression that finds the speaker in a
    source's name (its first group, or all that it matches); None = the first folder of the name. seed: another one,
    another split.

    Raises UserError for what cannot be split by.
    """

    by: str | None = None
    val: float = 0.05
    test: float = 0.05
    speaker: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by is not None and self.by not in _KINDS:
            raise UserError(f"split.by={self.by}: choose {' or '.join(_KINDS)}, or null for no split")
        for name in ("val", "test"):
            if not isinstance(getattr(self, name), int | float) or not 0 <= getattr(self, name) < 1:
                raise UserError(f"split.{name}={getattr(self, name)}: give a share from 0 to below 1")
        if self.val + self.test >= 1:
            raise UserError(f"split.val={self.val:g} and split.test={self.test:g} leave nothing to train on")
        if self.speaker is not None:
            try:
                re.compile(self.speaker)
            except re.error as error:
                raise UserError(f"split.speaker={self.speaker}: no regular expression ({error})") from error

    def part(self, source: str) -> str | None:
        """The part that a source, by its name, goes to; None without a split. Raises UserError where its speaker is not
        known."""
        if self.by is None:
            return None
        group = source if self.by == "source" else self._speaker(source)
        digest = hashlib.sha256(f"{self.seed}:{unicodedata.normalize('NFC', group)}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64  # 0 … 1
        # Each at its own end: another share of one moves nothing into the other, or out of it.
        return TEST if place < self.test else VAL if place >= 1 - self.val else TRAIN

    def empty(self, sources: Iterable[str]) -> list[str]:
        """The parts that have a share, and none of the sources. Raises UserError as `part` does."""
        found = Counter(self.part(source) for source in sources)
        shares = {VAL: self.val, TEST: self.test}
        return [] if self.by is None else [name for name, share in shares.items() if share and not found[name]]

    def _speaker(self, source: str) -> str:
        if self.speaker is None:
            folder, slash, _ = source.partition("/")
            if not slash:
                raise UserError(
                    f"split.by=speaker: source '{source}' lies in no folder that names its speaker; put it into one, "
                    "or give split.speaker=REGEX"
                )
            return folder
        match = re.search(self.speaker, source)
        found = None if match is None else match[1] if match.re.groups else match[0]
        if not found:
            raise UserError(f"split.speaker={self.speaker}: finds no speaker in the name of source '{source}'")
        return found
