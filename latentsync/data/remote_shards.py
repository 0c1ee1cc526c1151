"""Shards elsewhere: a folder's index, fetched first, what its store lists, and what each shard has to be."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from latentsync.data.clip_table import INDEX_NAME, ClipTable, index_table, make_table
from latentsync.data.tar_index import ClipEntry, index_shard
from latentsync.errors import UserError
from latentsync.storage.addresses import Facts, facts, filesystem, is_absent, listed, lists, persistently, split
from latentsync.storage.download import RemoteFile
from latentsync.storage.node_cache import NodeCache
from latentsync.work.files import sha256, write_whole

TABLES = "tables"  # in the cache's folder: what was made from indexes and shards, outliving their copies
_AT_ONCE = 16  # questions to a server


@dataclass(frozen=True)
class RemoteShard:
    """A shard that is read from its copy in the cache."""

    file: RemoteFile
    cache: NodeCache

    @property
    def address(self) -> str:
        return self.file.address

    @property
    def bytes(self) -> int:
        """Size of the file; 0 where the server does not tell."""
        return self.file.bytes or 0

    def open(self) -> BinaryIO:
        """For reading, fetched first if need be. Raises UserError."""
        return self.cache.open(self.file)


class RemoteFolder:
    """A folder of shards elsewhere. listing: name -> facts, None where the store does not list; table: of its
    index, None where there is none. Raises UserError for what cannot be had and for a damaged index."""

    def __init__(self, address: str, cache: NodeCache) -> None:
        self.address, self.cache = address, cache
        self._refusal: UserError | None = None
        self.listing = self._listing()
        self.table = self._index()

    def names(self) -> list[str]:
        """The shards of the folder: those of its listing, else of its index, in order. Raises UserError where neither
        may be read."""
        if self.listing is None and self.table is None and self._refusal is not None:
            raise self._refusal
        known: Iterable[str] = self.listing if self.listing is not None else self.table.shards if self.table else ()
        return sorted(name for name in known if name.endswith(".tar") and not name.startswith("."))

    def find(self, names: Iterable[str]) -> list[RemoteShard]:
        """These shards. Raises UserError for one that is not there or does not fit its index."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [RemoteShard(file, self.cache) for file in pool.map(self._file, names)]

    def clips(self, shard: RemoteShard) -> tuple[ClipTable, slice]:
        """The table that holds a shard's clips, and where; a shard that is in no index is fetched to make one."""
        name = split(shard.address)[1]
        if self.table is not None and name in self.table.shards:
            return self.table, self.table.shards[name].clips
        table = _scanned(shard, name)
        return table, slice(0, len(table))

    def _listing(self) -> dict[str, Facts] | None:
        if not lists(self.address):
            return None
        try:
            return listed(self.address, self.cache.patience)
        except UserError as error:
            if not is_absent(error):
                raise
            self._refusal = error  # files may be read where folders may not be listed
            return None

    def _index(self) -> ClipTable | None:
        address = f"{self.address}/{INDEX_NAME}"
        if self.listing is not None and INDEX_NAME not in self.listing:
            return None
        try:
            told = self.listing[INDEX_NAME] if self.listing else facts(address, self.cache.patience)
        except UserError as error:
            if is_absent(error):
                return None
            raise
        file = RemoteFile(address, told.bytes, mark=told.mark)
        if told.mark is None:
            self.cache.forget(file)  # nothing would tell an old copy from a new one
        with self.cache.open(file) as opened:
            return index_table(opened, address, self.cache.folder / TABLES, told.mark or sha256(opened))

    def _file(self, name: str) -> RemoteFile:
        address = f"{self.address}/{name}"
        if self.listing is not None and name not in self.listing:
            raise UserError(f"shard '{address}': there is no such file; check the pattern, or put it there again")
        indexed = self.table.shards.get(name) if self.table is not None else None
        if self.listing is None and indexed is not None:
            return RemoteFile(address, indexed.bytes, indexed.sha256)
        told = self.listing[name] if self.listing is not None else facts(address, self.cache.patience)
        if indexed is None:
            return RemoteFile(address, told.bytes, mark=told.mark)
        if None not in (told.bytes, indexed.bytes) and told.bytes != indexed.bytes:
            raise UserError(
                f"shard '{address}': {told.bytes:,} bytes there, {indexed.bytes:,} in its {INDEX_NAME}; put the right "
                "file there, or write the index again"
            )
        return RemoteFile(address, indexed.bytes, indexed.sha256, None if indexed.sha256 else told.mark)


def matching(pattern: str, cache: NodeCache) -> list[str]:
    """The addresses that a pattern with "*" stands for, in order. Raises UserError."""
    scheme = pattern.partition("://")[0]

    def ask() -> list[str]:
        system, path = filesystem(pattern, cache.patience)
        found = sorted(str(name) for name in system.glob(path))
        return [name if "://" in name else f"{scheme}://{name}" for name in found]

    return persistently(ask, pattern, cache.patience)


def _scanned(shard: RemoteShard, name: str) -> ClipTable:
    """The clips of a shard without an index, found by reading it once and kept beside the cache."""
    kept = shard.cache.folder / TABLES / "scanned" / f"{shard.cache.place(shard.file).name}.json"
    clips: list[dict[str, Any]]
    with suppress(OSError, ValueError, KeyError, TypeError):
        clips = [ClipEntry.from_json(clip).to_json() for clip in json.loads(kept.read_text())]
        return make_table([(name, {"bytes": shard.bytes}, clips)])
    with shard.open() as file:
        clips = [entry.to_json() for entry in index_shard(file, shard.address)]
    if shard.file.mark is not None:
        with suppress(OSError):  # no room: it is read again the next time
            write_whole(kept, json.dumps(clips))
    return make_table([(name, {"bytes": shard.bytes}, clips)])
