"""Writes clips into webdataset shards that are either whole or not there.

The folder gets PREFIX-000000.tar, PREFIX-000001.tar, … and `index.json`: for each shard its size, sha256, and where
each clip lies in it, so that a reader finds any clip without scanning. Equal samples in equal order give equal bytes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from latentsync.data.clip_table import INDEX_NAME, INDEX_VERSION
from latentsync.data.sample import ClipSample, to_members
from latentsync.data.tar_index import ClipEntry, index_shard
from latentsync.errors import UserError
from latentsync.work.files import sha256, write_whole

if TYPE_CHECKING:
    import webdataset

log = logging.getLogger(__name__)


class ShardWriter:
    """Context manager that writes shards of `clips_per_shard` clips into `folder` (made when absent).

    A shard is written as .NAME.tar.part and renamed when full or at the clean end; when the block raises, the
    unfinished shard is removed and the finished ones stay. `resume=True` goes on after the finished shards (`keys`
    tells what they hold); without it a folder that is not empty is refused.
    Raises UserError: folder not empty, unsafe or repeated key, a finished shard that cannot be read.
    """

    def __init__(
        self, folder: str | Path, clips_per_shard: int = 256, prefix: str = "clips", resume: bool = False
    ) -> None:
        if clips_per_shard < 1:
            raise UserError(f"clips_per_shard={clips_per_shard}: give a number of at least 1")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", prefix):
            raise UserError(f"prefix={prefix!r}: use letters, digits, '_' and '-'")
        self.folder = Path(folder)
        self.clips_per_shard = clips_per_shard
        self.prefix = prefix
        self.shards: dict[str, dict[str, Any]] = {}
        self.keys: set[str] = set()
        self._next = 0
        self._count = 0
        self._part: Path | None = None
        self._file: BinaryIO | None = None
        self._tar: webdataset.TarWriter | None = None
        self._prepare_folder(resume)

    def _prepare_folder(self, resume: bool) -> None:
        folder = self.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            present = sorted(folder.iterdir())
        except OSError as error:
            raise UserError(f"shard folder '{folder}': {error.strerror}") from error
        if present and not resume:
            raise UserError(f"shard folder '{folder}': not empty; choose an empty folder or resume=true")
        for path in present:
            if path.name.startswith(f".{self.prefix}-") and path.name.endswith(".tar.part"):
                path.unlink()  # what a killed run left behind
        recorded = read_index(folder)
        for path in present:
            if self._number(path.name) is None:
                continue
            shard = recorded.get(path.name)
            if shard is None or shard["bytes"] != path.stat().st_size:
                shard = describe_shard(path)
            self._go_on_after(path.name, shard)
        if self.shards:
            log.info("shard folder '%s': going on after %d shards, %d clips", folder, len(self.shards), len(self.keys))

    def _number(self, name: str) -> int | None:
        """The number in the name of one of this writer's shards; None for another file."""
        match = re.fullmatch(rf"{re.escape(self.prefix)}-(\d{{6,}})\.tar", name)
        return None if match is None else int(match[1])

    def _go_on_after(self, name: str, shard: dict[str, Any]) -> None:
        self._next = max(self._next, (self._number(name) or 0) + 1)
        self.shards[name] = shard
        self.keys.update(clip["key"] for clip in shard["clips"])

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if kind is not None:
            self._drop_part()
            if self.shards:  # with none, the folder stays empty and the same command may be given again
                self._write_index()
            return False
        try:
            self.close()
        except BaseException:
            self._drop_part()
            raise
        return False

    def write(self, sample: ClipSample) -> None:
        """Append one clip.

        Raises UserError for an unsafe or repeated key, BadSample for metadata or audio out of contract.
        """
        members = to_members(sample)
        if sample.key in self.keys:
            raise UserError(f"clip key {sample.key!r}: already in '{self.folder}'; keys must be unique")
        tar = self._tar or self._open_part()
        tar.write({"__key__": sample.key, **members})
        self.keys.add(sample.key)
        self._count += 1
        if self._count == self.clips_per_shard:
            self._finish_part()

    def close(self) -> None:
        """Finish the last shard and write the index. Called by the context manager at a clean end."""
        if self._tar is not None:
            self._finish_part()
        self._write_index()

    def _open_part(self) -> webdataset.TarWriter:
        import webdataset  # with torch: a mistake on the command line is answered without it

        self._part = self.folder / f".{self.prefix}-{self._next:06d}.tar.part"
        self._file = self._part.open("wb")
        # Fixed owner and time: equal samples give equal bytes. TarWriter sorts the members of a sample by name.
        self._tar = webdataset.TarWriter(self._file, encoder=False, user="", group="", mtime=0, compress=False)
        return self._tar

    def _finish_part(self) -> None:
        assert self._tar is not None
        assert self._file is not None
        assert self._part is not None
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        path = self.folder / f"{self.prefix}-{self._next:06d}.tar"
        self.shards[path.name] = describe_shard(self._part)
        os.replace(self._part, path)
        self._tar, self._file, self._part = None, None, None
        self._next += 1
        self._count = 0
        self._placed(path)

    def _placed(self, path: Path) -> None:
        """Told of each finished shard."""

    def _drop_part(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: closing writes the rest of what is deleted next
            if self._tar is not None:
                self._tar.close()
            if self._file is not None:
                self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)
        self._tar, self._file, self._part = None, None, None

    def _write_index(self) -> None:
        # The index of other prefixes in the same folder is kept.
        shards = {**read_index(self.folder), **self.shards}
        shards = {name: shards[name] for name in sorted(shards) if (self.folder / name).is_file()}
        write_whole(self.folder / INDEX_NAME, json.dumps({"version": INDEX_VERSION, "shards": shards}) + "\n")


def describe_shard(path: Path) -> dict[str, Any]:
    """What the index says of one shard; see `described`."""
    with path.open("rb") as file:
        return described(file, str(path))


def described(file: BinaryIO, name: str) -> dict[str, Any]:
    """What the index says of a shard, open for reading: bytes, sha256, and its clips (see `tar_index.ClipEntry`).

    Raises UserError when the file is not a readable tar.
    """
    clips = [entry.to_json() for entry in index_shard(file, name)]
    return {"bytes": os.fstat(file.fileno()).st_size, "sha256": sha256(file), "clips": clips}


def read_index(folder: Path) -> dict[str, dict[str, Any]]:
    """Shard name -> its description, out of folder/index.json; empty when there is none.

    Raises UserError when the index is damaged (delete it: readers then scan the shards).
    """
    path = folder / INDEX_NAME
    return parsed_index(path.read_text(), str(path)) if path.is_file() else {}


def parsed_index(text: str, path: str) -> dict[str, dict[str, Any]]:
    """Shard name -> its description, out of the text of an index. path: what messages call it. Raises UserError."""
    try:
        index = json.loads(text)
        shards = index["shards"]
        for shard in shards.values():
            _ = shard["bytes"], [ClipEntry.from_json(clip) for clip in shard["clips"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"index '{path}': not a shard index; delete it to have the shards scanned") from error
    if index.get("version") != INDEX_VERSION:
        raise UserError(
            f"index '{path}': version {index.get('version')}, wanted {INDEX_VERSION}; delete it to have "
            "the shards scanned"
        )
    return shards
