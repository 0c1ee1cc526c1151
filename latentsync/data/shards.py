"""Finds the shards of a data set, checks them, and knows where each usable clip lies."""

import glob
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import braceexpand
import numpy as np

from latentsync.data.clip_table import INDEX_NAME, ClipTable, index_table, joined, make_table
from latentsync.data.remote_shards import TABLES, RemoteFolder, RemoteShard, matching
from latentsync.data.sample import BadSample, ClipSample
from latentsync.data.tar_index import ClipEntry, index_shard, read_clip, read_clip_metadata
from latentsync.errors import UserError
from latentsync.storage.addresses import is_remote, split
from latentsync.storage.node_cache import GB, NodeCache

ShardSource = str | Path | Sequence[str | Path]
CACHE_GB = 100.0
_KEYS_AT_ONCE = 100_000

Read = TypeVar("Read")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalShard:
    """A shard on this machine, or on a disk that it sees as its own."""

    path: Path

    @property
    def address(self) -> str:
        return str(self.path)

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        """For reading. Raises OSError."""
        return self.path.open("rb")


Shard = LocalShard | RemoteShard


class ShardSet:
    """The usable clips of some shards, in the order of the shards.

    source: folder, file, glob, webdataset brace pattern ("clips-{000000..000009}.tar"), or a list of them; each a path
    or an address (https://, s3://, gs://, hf://datasets/…). cache: where copies of remote shards lie, by default
    `CACHE_GB` in `node_cache.default_folder()`. min_frames: shorter clips are set aside, as are clips whose metadata
    cannot be used; `set_aside` counts them by reason. max_bad_share: share of the clips that may be set aside, 0 to 1.
    shards: them all; shard_numbers: (n,) int64, the one in which each clip lies; num_frames: (n,) int32.
    Raises UserError: no shard found, an unreadable shard, too many clips set aside or none left.
    """

    def __init__(
        self,
        source: ShardSource,
        min_frames: int = 1,
        max_bad_share: float = 0.5,
        cache: NodeCache | None = None,
    ) -> None:
        finder = _Finder(cache or NodeCache(None, int(CACHE_GB * GB)))
        self.shards = finder.find(source)
        tables = [finder.clips(shard) for shard in self.shards]
        numbers = np.repeat(np.arange(len(tables)), [rows.stop - rows.start for _, rows in tables])
        self._table = joined(_merged(tables))
        self.set_aside = _set_aside(self._table, min_frames)
        usable = (self._table.bad == 0) & (self._table.num_frames >= min_frames)
        # No array of rows where every one is usable: those of the table may be a file that all processes map.
        self._rows = None if usable.all() else np.flatnonzero(usable)
        self.shard_numbers = numbers if self._rows is None else numbers[self._rows]
        self.num_frames = self._table.num_frames if self._rows is None else self._table.num_frames[self._rows]
        check_share(self.set_aside, len(self._table), max_bad_share, self.name)
        if self.set_aside:
            log.warning("%s: %d clips set aside (%s)", self.name, self.set_aside.total(), reasons(self.set_aside))

    @property
    def name(self) -> str:
        """The shards as named in messages."""
        more = f" and {len(self.shards) - 1} more" if len(self.shards) > 1 else ""
        return f"shards '{self.shards[0].address}'{more}"

    @property
    def remote(self) -> bool:
        """Whether one of the shards lies elsewhere."""
        return any(isinstance(shard, RemoteShard) for shard in self.shards)

    def __len__(self) -> int:
        """Number of usable clips."""
        return len(self.shard_numbers)

    def key(self, index: int) -> str:
        """Key of a clip."""
        return self._entry(index).key

    def neighbours(self, index: int) -> range:
        """The usable clips of the shard in which a clip lies."""
        number = self.shard_numbers[index]
        return range(*(int(np.searchsorted(self.shard_numbers, number, side)) for side in ("left", "right")))

    def read(self, index: int) -> ClipSample:
        """Read one clip from its shard. Raises BadSample when it cannot be read, UserError when a remote shard cannot
        be fetched."""
        return self._read(index, read_clip)

    def read_metadata(self, index: int) -> tuple[dict[str, Any], set[str]]:
        """Metadata of one clip and the names of its members; the rest is not read. Raises as `read` does."""
        return self._read(index, read_clip_metadata)

    def _read(self, index: int, how: Callable[[BinaryIO, ClipEntry], Read]) -> Read:
        try:
            with self.shards[self.shard_numbers[index]].open() as file:
                return how(file, self._entry(index))
        except OSError as error:
            raise BadSample(f"shard unreadable: {error.strerror}") from error

    def _entry(self, index: int) -> ClipEntry:
        return self._table.entry(index if self._rows is None else int(self._rows[index]))

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        for start in range(0, len(self), _KEYS_AT_ONCE):
            rows = slice(start, start + _KEYS_AT_ONCE)
            keys = self._table.keys[rows if self._rows is None else self._rows[rows]]
            digest.update((b"\n" if start else b"") + b"\n".join(keys.tolist()))
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """Changes when the usable clips or their order change; the same wherever the shards lie."""
        return self._fingerprint


class _Finder:
    """Finds shards and their clips; each folder is looked at once."""

    def __init__(self, cache: NodeCache) -> None:
        self._cache = cache
        self._remote: dict[str, RemoteFolder] = {}
        self._local: dict[Path, ClipTable | None] = {}

    def find(self, source: ShardSource) -> list[Shard]:
        """The shards that `source` names, sorted within each part. Raises UserError for none."""
        parts = [source] if isinstance(source, str | Path) else list(source)
        found: list[Shard] = []
        for part in parts:
            found.extend(self._at_address(str(part)) if is_remote(part) else local_shards(part))
        if not found:
            raise UserError("shards: none given; give a folder of .tar shards")
        return found

    def _at_address(self, part: str) -> list[RemoteShard]:
        names = list(braceexpand.braceexpand(part)) if "{" in part else [part]
        addresses = [address for name in names for address in self._addresses(name)]
        if not addresses:
            raise UserError(
                f"shards '{part}': no .tar shard there; give a folder that has an index.json or can be listed, a file, "
                "or a pattern"
            )
        by_folder: dict[str, list[str]] = {}
        for address in addresses:
            by_folder.setdefault(split(address)[0], []).append(split(address)[1])
        found = {shard.address: shard for at, names in by_folder.items() for shard in self._folder(at).find(names)}
        return [found[address] for address in addresses]

    def _addresses(self, name: str) -> list[str]:
        """Those of the shards that a pattern with "*", a file or a folder stands for."""
        if "*" in name:
            return matching(name, self._cache)
        if re.search(r"\.tar(\?|$)", name):
            return [name]
        folder = self._folder(name.rstrip("/"))
        return [f"{folder.address}/{shard}" for shard in folder.names()]

    def clips(self, shard: Shard) -> tuple[ClipTable, slice]:
        """The table that holds a shard's clips, and where."""
        if isinstance(shard, RemoteShard):
            return self._folder(split(shard.address)[0]).clips(shard)
        folder = shard.path.parent
        if folder not in self._local:
            self._local[folder] = self._local_index(folder)
        table = self._local[folder]
        recorded = None if table is None else table.shards.get(shard.path.name)
        if table is not None and recorded is not None and recorded.bytes == shard.bytes:
            return table, recorded.clips
        with shard.open() as file:
            clips = [entry.to_json() for entry in index_shard(file, shard.address)]
        scanned = make_table([(shard.path.name, {"bytes": shard.bytes}, clips)])
        return scanned, slice(0, len(scanned))

    def _folder(self, address: str) -> RemoteFolder:
        if address not in self._remote:
            self._remote[address] = RemoteFolder(address, self._cache)
        return self._remote[address]

    def _local_index(self, folder: Path) -> ClipTable | None:
        try:
            with (folder / INDEX_NAME).open("rb") as file:
                status = (folder / INDEX_NAME).stat()
                mark = f"{status.st_size}/{status.st_mtime_ns}"
                return index_table(file, str((folder / INDEX_NAME).absolute()), self._cache.folder / TABLES, mark)
        except FileNotFoundError:
            return None


def local_shards(part: str | Path) -> list[LocalShard]:
    """The shards that a folder, file, glob or brace pattern of this machine names, sorted. Raises UserError."""
    if str(part).startswith("pipe:"):
        raise UserError(f"shards '{part}': a pipe cannot be read at random places; give the address that it reads")
    if Path(part).is_dir():
        shards = sorted(path for path in Path(part).glob("*.tar") if not path.name.startswith("."))
    else:
        names = braceexpand.braceexpand(str(part)) if "{" in str(part) else [str(part)]
        shards = [Path(path) for name in names for path in sorted(glob.glob(name)) or [name]]
    missing = next((path for path in shards if not path.is_file()), None)
    if missing is not None or not shards:
        raise UserError(
            f"shards '{missing or part}': no .tar shard there; give a folder of shards, a file, or a pattern"
        )
    return [LocalShard(path) for path in shards]


def _merged(tables: Sequence[tuple[ClipTable, slice]]) -> list[tuple[ClipTable, slice]]:
    """Rows that follow each other in one table as one piece."""
    found: list[tuple[ClipTable, slice]] = []
    for table, rows in tables:
        if found and found[-1][0] is table and found[-1][1].stop == rows.start:
            found[-1] = table, slice(found[-1][1].start, rows.stop)
        else:
            found.append((table, rows))
    return found


def _set_aside(table: ClipTable, min_frames: int) -> Counter[str]:
    """Reason -> clips that cannot be used."""
    counts = np.bincount(table.bad, minlength=len(table.reasons))
    found = Counter({reason: int(count) for reason, count in zip(table.reasons, counts) if reason and count})
    short = int(((table.bad == 0) & (table.num_frames < min_frames)).sum())
    return found + Counter({f"fewer than {min_frames} frames": short} if short else {})


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
