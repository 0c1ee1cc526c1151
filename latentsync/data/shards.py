"""Finds the shards of a data set, checks them, and knows where each usable clip lies."""

import glob
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import braceexpand
import numpy as np

from latentsync.data.sample import ClipSample
from latentsync.data.shard_writer import read_index
from latentsync.data.tar_index import ClipEntry, index_shard, read_clip, read_clip_metadata
from latentsync.errors import UserError

ShardSource = str | Path | Sequence[str | Path]

log = logging.getLogger(__name__)


class ShardSet:
    """The usable clips of some shards, in the order of the shards.

    source: folder, file, glob, webdataset brace pattern ("clips-{000000..000009}.tar"), or a list of them.
    min_frames: shorter clips are set aside, as are clips whose metadata cannot be used; `set_aside` counts them by
    reason. max_bad_share: share of the clips that may be set aside, 0 to 1.
    Raises UserError: no shard found, an unreadable shard, too many clips set aside or none left.
    """

    def __init__(self, source: ShardSource, min_frames: int = 1, max_bad_share: float = 0.5) -> None:
        self.paths = find_shards(source)
        self.set_aside: Counter[str] = Counter()
        shard_numbers: list[int] = []
        entries: list[ClipEntry] = []
        indexes: dict[Path, Mapping[str, dict]] = {}
        for number, path in enumerate(self.paths):
            if path.parent not in indexes:
                indexes[path.parent] = read_index(path.parent)
            for entry in _entries(path, indexes[path.parent]):
                reason = entry.bad or (f"fewer than {min_frames} frames" if entry.num_frames < min_frames else None)
                if reason is not None:
                    self.set_aside[reason] += 1
                else:
                    entries.append(entry)
                    shard_numbers.append(number)
        # Arrays, not objects: forked workers then share them without copying.
        self.shard_numbers = np.array(shard_numbers, dtype=np.int64)
        self.num_frames = np.array([entry.num_frames for entry in entries], dtype=np.int64)
        self._places = np.array([(entry.offset, entry.size) for entry in entries], dtype=np.int64).reshape(-1, 2)
        self._keys = np.array([entry.key.encode("ascii") for entry in entries], dtype=np.bytes_)
        check_share(self.set_aside, len(entries) + self.set_aside.total(), max_bad_share, self.name)
        if self.set_aside:
            log.warning("%s: %d clips set aside (%s)", self.name, self.set_aside.total(), reasons(self.set_aside))

    @property
    def name(self) -> str:
        """The shards as named in messages."""
        return f"shards '{self.paths[0]}'" + (f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else "")

    def __len__(self) -> int:
        """Number of usable clips."""
        return len(self._keys)

    def key(self, index: int) -> str:
        """Key of a clip."""
        return self._keys[index].decode("ascii")

    def read(self, index: int) -> ClipSample:
        """Read one clip from its shard. Raises BadSample when it cannot be read."""
        return read_clip(self.paths[self.shard_numbers[index]], self._entry(index))

    def read_metadata(self, index: int) -> tuple[dict[str, Any], set[str]]:
        """Metadata of one clip and the names of its members; the rest is not read. Raises BadSample."""
        return read_clip_metadata(self.paths[self.shard_numbers[index]], self._entry(index))

    def _entry(self, index: int) -> ClipEntry:
        offset, size = (int(number) for number in self._places[index])
        return ClipEntry(self.key(index), offset, size, int(self.num_frames[index]))

    def fingerprint(self) -> str:
        """Changes when the usable clips or their order change."""
        return hashlib.blake2b(b"\n".join(self._keys.tolist()), digest_size=8).hexdigest()


def find_shards(source: ShardSource) -> list[Path]:
    """The shard files that `source` names (see `ShardSet`), sorted within each part. Raises UserError for none."""
    parts = [source] if isinstance(source, str | Path) else list(source)
    found: list[Path] = []
    for part in parts:
        if Path(part).is_dir():
            shards = sorted(path for path in Path(part).glob("*.tar") if not path.name.startswith("."))
        else:
            names = braceexpand.braceexpand(str(part)) if "{" in str(part) else [str(part)]
            shards = [Path(path) for name in names for path in sorted(glob.glob(name)) or [name]]
        missing = next((path for path in shards if not path.is_file()), None)
        if missing is not None or not shards:
            raise UserError(f"shards '{part}': no .tar shard there; give a folder of shards, a file, or a pattern")
        found.extend(shards)
    if not found:
        raise UserError("shards: none given; give a folder of .tar shards")
    return found


def _entries(path: Path, index: Mapping[str, dict]) -> list[ClipEntry]:
    recorded = index.get(path.name)
    if recorded is not None and recorded["bytes"] == path.stat().st_size:
        return [ClipEntry.from_json(clip) for clip in recorded["clips"]]
    return index_shard(path)


def check_share(set_aside: Mapping[str, int], num_clips: int, max_bad_share: float, name: str) -> None:
    """Raise UserError when more than `max_bad_share` of `num_clips` clips, or all of them, are set aside."""
    bad = sum(set_aside.values())
    if num_clips == 0:
        raise UserError(f"{name}: no clip in there; give shards that hold clips (KEY.mp4, KEY.wav, KEY.json)")
    if bad > max_bad_share * num_clips or bad == num_clips:
        raise UserError(
            f"{name}: {bad} of {num_clips} clips cannot be used ({reasons(set_aside)}), more than "
            f"max_bad_share={max_bad_share:g} allows; mend the shards or raise it"
        )


def reasons(set_aside: Mapping[str, int]) -> str:
    """Reasons with their counts, the most frequent first."""
    ordered = sorted(set_aside.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{count} × {reason}" for reason, count in ordered)
