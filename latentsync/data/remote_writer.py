"""Writes shards into a folder elsewhere: each is made here, put there when it is whole, and removed here."""

import json
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from latentsync.data.clip_table import INDEX_NAME, INDEX_VERSION
from latentsync.data.shard_writer import ShardWriter, described, parsed_index
from latentsync.data.shards import CACHE_GB
from latentsync.errors import UserError
from latentsync.storage.addresses import Facts, Patience, filesystem, is_remote, listed, persistently
from latentsync.storage.download import RemoteFile
from latentsync.storage.node_cache import GB, NodeCache
from latentsync.storage.upload import put


def shard_writer(folder: str | Path, clips_per_shard: int, prefix: str, resume: bool) -> ShardWriter:
    """A writer of shards for a path or an address; see `ShardWriter`. Raises UserError as it does."""
    if is_remote(folder):
        return RemoteShardWriter(str(folder), clips_per_shard, prefix, resume)
    return ShardWriter(folder, clips_per_shard, prefix, resume)


class RemoteShardWriter(ShardWriter):
    """As `ShardWriter`, for the address of a folder whose store can list it. The index is put there at the end, also
    when the block raises; shards that a killed run put there without it are read once to go on after them.

    Raises UserError, also while writing: what cannot be listed, read or put there.
    """

    def __init__(self, address: str, clips_per_shard: int, prefix: str, resume: bool) -> None:
        self.address = address.rstrip("/")
        self.cache = NodeCache(None, int(CACHE_GB * GB))
        self._recorded: dict[str, dict[str, Any]] = {}
        self._staging = tempfile.TemporaryDirectory(prefix="shards-")
        super().__init__(self._staging.name, clips_per_shard, prefix, resume)

    def _prepare_folder(self, resume: bool) -> None:
        listing = listed(self.address, self.cache.patience)
        if listing and not resume:
            raise UserError(f"shard folder '{self.address}': not empty; choose an empty folder or resume=true")
        self._recorded = recorded_at(self.address, self.cache.patience) if INDEX_NAME in listing else {}
        for name in sorted(listing):
            if self._number(name) is not None:
                self._go_on_after(name, self._description(name, listing[name]))

    def _description(self, name: str, told: Facts) -> dict[str, Any]:
        recorded = self._recorded.get(name)
        if recorded is not None and recorded["bytes"] == told.bytes:
            return recorded
        file = RemoteFile(f"{self.address}/{name}", told.bytes, mark=told.mark)
        with self.cache.open(file) as opened:
            return described(opened, file.address)

    def _placed(self, path: Path) -> None:
        put(path, f"{self.address}/{path.name}", self.cache.patience)
        path.unlink()

    def _write_index(self) -> None:
        shards = {**self._recorded, **self.shards}
        index = {"version": INDEX_VERSION, "shards": {name: shards[name] for name in sorted(shards)}}
        put(json.dumps(index).encode() + b"\n", f"{self.address}/{INDEX_NAME}", self.cache.patience)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        try:
            return super().__exit__(kind, error, trace)
        finally:
            self._staging.cleanup()


def recorded_at(folder: str, patience: Patience) -> dict[str, dict[str, Any]]:
    """Shard name -> its description, out of the index of a folder elsewhere; empty where there is none.

    Raises UserError for one that is damaged or cannot be read.
    """
    address = f"{folder}/{INDEX_NAME}"

    def ask() -> str | None:
        system, path = filesystem(address, patience)
        return system.cat_file(path).decode() if system.exists(path) else None

    text = persistently(ask, address, patience)
    return {} if text is None else parsed_index(text, address)
