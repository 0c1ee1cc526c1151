"""Where the clips of many shards lie, as arrays: two million of them take 100 MB, mapped from a file and not read.

`index.json` is read shard by shard, so that it never is in memory whole. Large ones are kept as arrays beside the cache
of remote shards, made once on a node; every process of the node then shares the same pages.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from latentsync.data.tar_index import ClipEntry
from latentsync.errors import UserError
from latentsync.storage.addresses import is_remote
from latentsync.work.files import folder_written_whole

INDEX_NAME = "index.json"
INDEX_VERSION = 1
KEPT_FROM = 8 << 20  # bytes of an index.json whose arrays are kept: smaller ones are read in a moment

_FORMAT = 1  # of the kept arrays
_BLOCK = 1 << 20
_CLIP = {"offsets": np.int64, "sizes": np.int64, "num_frames": np.int32, "bad": np.int16}


@dataclass(frozen=True)
class ShardEntry:
    """A shard in an index. bytes, sha256: of its file, None where not told; clips: its rows in the table."""

    bytes: int | None
    sha256: str | None
    clips: slice


@dataclass
class ClipTable:
    """keys: (n,) bytes; offsets, sizes: (n,) int64, bytes in the shard; num_frames: (n,) int32; bad: (n,) int16, 0 for
    a clip that can be used, else the number of its reason in `reasons`. shards: name -> entry, in the order of the
    rows. folder: where the arrays are kept, None: in memory alone."""

    keys: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    num_frames: np.ndarray
    bad: np.ndarray
    reasons: list[str]
    shards: dict[str, ShardEntry] = field(default_factory=dict)
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def entry(self, row: int) -> ClipEntry:
        """One clip."""
        numbers = (int(self.offsets[row]), int(self.sizes[row]), int(self.num_frames[row]))
        return ClipEntry(self.keys[row].decode("ascii"), *numbers, self.reasons[self.bad[row]] or None)

    def __reduce__(self) -> Any:
        # A mapped array would travel to another process as a copy of its contents.
        if self.folder is None:
            return super().__reduce__()
        return read_kept, (self.folder,)


def index_table(file: BinaryIO, name: str, kept: Path, mark: str) -> ClipTable:
    """The table of an `index.json`, open for reading. name: what messages call it; kept: the folder for arrays of large
    ones; mark: changes with the index. Raises UserError when it is damaged."""
    if os.fstat(file.fileno()).st_size < KEPT_FROM:
        return _read(file, name)
    place = kept / _digest(name) / _digest(f"{_FORMAT}/{mark}")
    with suppress(OSError, ValueError, KeyError):
        return read_kept(place)
    table = _read(file, name)
    try:
        _keep(table, place)
    except OSError:
        return table  # no room or no right: in memory, then
    return read_kept(place)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(file: BinaryIO, name: str) -> ClipTable:
    how = "write it again" if is_remote(name) else "delete it to have the shards scanned"
    file.seek(0)
    try:
        text = io.TextIOWrapper(file, encoding="utf-8")
        return make_table((shard, told, told["clips"]) for shard, told in _shards(text))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"index '{name}': not a shard index of version {INDEX_VERSION}; {how}") from error


def make_table(shards: Iterable[tuple[str, dict[str, Any], Sequence[dict[str, Any]]]]) -> ClipTable:
    """The table of (shard's name, its "bytes" and "sha256", its clips as an index has them).

    Raises KeyError, TypeError, ValueError or OverflowError for what is none.
    """
    reasons = {"": 0}
    entries: dict[str, ShardEntry] = {}
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("keys", *_CLIP)}
    count = 0
    for name, told, clips in shards:
        digest = told.get("sha256")
        entries[name] = ShardEntry(
            int(told["bytes"]), None if digest is None else str(digest), slice(count, count + len(clips))
        )
        count += len(clips)
        columns["keys"].append(np.array([_key(clip) for clip in clips], dtype=np.bytes_))
        columns["offsets"].append(np.array([int(clip["offset"]) for clip in clips], np.int64))
        columns["sizes"].append(np.array([int(clip["size"]) for clip in clips], np.int64))
        columns["num_frames"].append(np.array([int(clip["num_frames"]) for clip in clips], np.int32))
        bad = [reasons.setdefault(str(clip.get("bad") or ""), len(reasons)) for clip in clips]
        columns["bad"].append(np.array(bad, np.int16))
    joined: dict[str, Any] = {}
    for name in list(columns):  # one after the other: the parts go as soon as they are joined
        parts = columns.pop(name)
        joined[name] = np.concatenate(parts) if parts else np.empty(0, _CLIP.get(name, np.bytes_))
    return ClipTable(**joined, reasons=list(reasons), shards=entries)


def _key(clip: dict[str, Any]) -> bytes:
    # Of a clip that cannot be used, the key may be why; nobody asks for it.
    return b"" if clip.get("bad") else str(clip["key"]).encode("ascii")


def joined(tables: Sequence[tuple[ClipTable, slice]]) -> ClipTable:
    """Rows of several tables as one. Raises nothing; the shards' entries are left out."""
    if len(tables) == 1 and tables[0][1] == slice(0, len(tables[0][0])):
        return tables[0][0]
    reasons = {"": 0}
    bad = []
    for table, rows in tables:
        numbers = np.array([reasons.setdefault(reason, len(reasons)) for reason in table.reasons], np.int16)
        bad.append(numbers[table.bad[rows]])
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(table, name)[rows] for table, rows in tables])
        for name in ("keys", "offsets", "sizes", "num_frames")
    }
    return ClipTable(**columns, bad=np.concatenate(bad), reasons=list(reasons))


def _keep(table: ClipTable, place: Path) -> None:
    with folder_written_whole(place) as part:
        for name in ("keys", *_CLIP):
            np.save(part / f"{name}.npy", getattr(table, name), allow_pickle=False)
        shards = {
            name: [entry.bytes, entry.sha256, entry.clips.start, entry.clips.stop]
            for name, entry in table.shards.items()
        }
        (part / "shards.json").write_text(json.dumps({"reasons": table.reasons, "shards": shards}))
    for other in place.parent.iterdir():  # of earlier versions of this index; who has them open keeps them
        if other != place:
            shutil.rmtree(other, ignore_errors=True)


def read_kept(place: Path) -> ClipTable:
    """A table out of its folder. Raises OSError, ValueError or KeyError where there is none."""
    told = json.loads((place / "shards.json").read_text())
    columns = {name: np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ("keys", *_CLIP)}
    shards = {
        name: ShardEntry(size, digest, slice(start, stop))
        for name, (size, digest, start, stop) in told["shards"].items()
    }
    return ClipTable(**columns, reasons=told["reasons"], shards=shards, folder=place)


def _shards(file: TextIO) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and description of each shard of an index, one at a time. Raises ValueError for what is no index."""
    text, version, found = _Text(file), None, False
    for name in text.members():
        if name == "shards":
            found = True
            for shard in text.members():
                yield shard, text.value()
        elif name == "version":
            version = text.value()
        else:
            text.value()
    if not found or version != INDEX_VERSION:
        raise ValueError("no shards, or of another version")


class _Text:
    """JSON read piece by piece."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._place = file, "", 0
        self._decode = json.JSONDecoder().raw_decode

    def members(self) -> Iterator[str]:
        """The names in the object that begins here; after each one its `value` or `members` have to be taken."""
        self._take("{")
        if self._next() == "}":
            self._place += 1
            return
        while True:
            name = self.value()
            self._take(":")
            yield name
            if self._next() == "}":
                self._place += 1
                return
            self._take(",")

    def value(self) -> Any:
        """The value that begins here."""
        self._next()
        wanted = _BLOCK
        while True:
            try:
                value, end = self._decode(self._text, self._place)
                if end < len(self._text) or not self._more(wanted):  # a number may go on in the next block
                    self._place = end
                    return value
            except json.JSONDecodeError:
                if not self._more(wanted):
                    raise
            wanted *= 2  # so that a long value is not parsed once for each block

    def _next(self) -> str:
        while True:
            while self._place < len(self._text):
                if not self._text[self._place].isspace():
                    return self._text[self._place]
                self._place += 1
            if not self._more(_BLOCK):
                raise ValueError("ends too early")

    def _take(self, character: str) -> None:
        if self._next() != character:
            raise ValueError(f"no {character!r} where one belongs")
        self._place += 1

    def _more(self, wanted: int) -> bool:
        block = self._file.read(wanted)
        self._text, self._place = self._text[self._place :] + block, 0
        return bool(block)
