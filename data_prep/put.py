"""Puts what a preparation made where training finds it: shards first, then their index, then manifest and report."""

from pathlib import Path

from data_prep.assemble import SHARDS
from data_prep.manifest import MANIFEST_NAME
from data_prep.report import REPORT_NAME
from latentsync.data.remote_writer import recorded_at
from latentsync.data.shard_writer import INDEX_NAME, read_index
from latentsync.errors import UserError
from latentsync.storage.addresses import Patience, filesystem, is_remote, kind, listed, persistently
from latentsync.storage.upload import put


def check_place(address: str) -> None:
    """Raises UserError for what files cannot be put to."""
    if not is_remote(address) or kind(address) in ("http", "https"):
        raise UserError(f"put={address}: give the address of a folder at s3://, gs:// or hf://")
    listed(address, Patience())  # before hours of work, not after them


def put_result(output: Path, address: str) -> list[str]:
    """Put the shards, manifest and report below `output` to the folder at `address`; returns the shards' names that
    were not there yet with just these bytes. Who reads there sees the shards of before until their new index is there.

    Raises UserError for what cannot be put.
    """
    patience, new = Patience(), []
    for index in sorted((output / SHARDS).rglob(INDEX_NAME)):
        below = index.parent.relative_to(output).as_posix()
        folder = f"{address.rstrip('/')}/{below}"
        there, mine = recorded_at(folder, patience), read_index(index.parent)
        present = listed(folder, patience)
        for name, shard in mine.items():
            if there.get(name) == shard and name in present and present[name].bytes == shard["bytes"]:
                continue
            put(index.parent / name, f"{folder}/{name}", patience)
            new.append(f"{below}/{name}")
        put(index, f"{folder}/{INDEX_NAME}", patience)
        for name in present:
            if name.endswith(".tar") and name in there and name not in mine:
                _remove(f"{folder}/{name}", patience)
    for name in (MANIFEST_NAME, REPORT_NAME):
        put(output / name, f"{address.rstrip('/')}/{name}", patience)
    return new


def _remove(address: str, patience: Patience) -> None:
    def remove() -> None:
        system, path = filesystem(address, patience)
        system.rm_file(path)

    persistently(remove, address, patience)
