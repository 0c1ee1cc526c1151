"""Where each clip lies in a tar, and reading one clip from there with webdataset."""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from latentsync.data.sample import METADATA_MEMBER, BadSample, ClipSample, check_key, from_members, read_metadata
from latentsync.errors import UserError

BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True)
class ClipEntry:
    """One clip in a shard: bytes [offset, offset + size) of the tar hold its members, nothing else.

    num_frames is 0 and `bad` the reason when the clip's metadata cannot be used.
    """

    key: str
    offset: int
    size: int
    num_frames: int
    bad: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry as the index stores it."""
        entry = {"key": self.key, "offset": self.offset, "size": self.size, "num_frames": self.num_frames}
        return entry if self.bad is None else {**entry, "bad": self.bad}

    @staticmethod
    def from_json(entry: dict[str, Any]) -> "ClipEntry":
        """The entry out of the index. Raises KeyError, TypeError or ValueError when it is not one."""
        bad = entry.get("bad")
        return ClipEntry(
            str(entry["key"]), int(entry["offset"]), int(entry["size"]), int(entry["num_frames"]), bad and str(bad)
        )


def index_shard(shard: BinaryIO, name: str) -> list[ClipEntry]:
    """Find the clips of a tar, open for reading, by headers and metadata alone. name: what messages call it.

    Members of one clip must be neighbours, as webdataset requires. Raises UserError for an unreadable or truncated tar.
    """
    try:
        with tarfile.open(fileobj=shard, mode="r:") as tar:
            return list(_entries(tar, os.fstat(shard.fileno()).st_size))
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"shard '{name}': unreadable or cut off ({error}); copy it again or delete it") from error
    except OSError as error:
        raise UserError(f"shard '{name}': {error.strerror or error}") from error


def _entries(tar: tarfile.TarFile, file_size: int) -> Iterator[ClipEntry]:
    from webdataset.tariterators import base_plus_ext  # with torch

    group: list[tarfile.TarInfo] = []
    group_key: str | None = None
    end = 0
    for member in tar:
        end = _end(member)
        if end > file_size:
            raise tarfile.ReadError(f"ends within {member.name}")
        key = base_plus_ext(member.name)[0] if member.isreg() else None
        if key is None or key != group_key:
            if group and group_key is not None:
                yield _entry(tar, group_key, group)
            group, group_key = [], key
        if key is not None:
            group.append(member)
    # tarfile ends in silence at a damaged or cut-off header; a whole tar ends with zero blocks.
    assert tar.fileobj is not None
    tar.fileobj.seek(end)
    if tar.fileobj.read(BLOCK) != bytes(BLOCK):
        raise tarfile.ReadError("damaged header or no end mark")
    if group and group_key is not None:
        yield _entry(tar, group_key, group)


def _end(member: tarfile.TarInfo) -> int:
    return member.offset_data + -(-member.size // BLOCK) * BLOCK


def _entry(tar: tarfile.TarFile, key: str, members: list[tarfile.TarInfo]) -> ClipEntry:
    offset, num_frames, bad = members[0].offset, 0, None
    try:
        check_key(key)
        described = [member for member in members if member.name == f"{key}.{METADATA_MEMBER}"]
        if not described:
            raise BadSample(f"member missing: {METADATA_MEMBER}")
        stream = tar.extractfile(described[0])
        assert stream is not None  # regular files only
        num_frames = read_metadata(stream.read())["num_frames"]
    except BadSample as error:
        bad = str(error)
    except UserError:
        bad = "unsafe key"
    return ClipEntry(key, offset, _end(members[-1]) - offset, num_frames, bad)


def read_clip(shard: BinaryIO, entry: ClipEntry) -> ClipSample:
    """Read one clip out of a shard, open for reading, with webdataset's tar reader.

    The bytes of one clip followed by the two zero blocks that end a tar are themselves a tar.
    Raises BadSample when the clip cannot be read or is not the one that the index promises.
    """
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    try:
        shard.seek(entry.offset)
        data = shard.read(entry.size)
    except OSError as error:
        raise BadSample(f"shard unreadable: {error.strerror}") from error
    if len(data) < entry.size:
        raise BadSample("shard is cut off")
    try:
        files = tar_file_iterator(io.BytesIO(data + bytes(2 * BLOCK)))
        samples = list(group_by_keys({**file, "__url__": ""} for file in files))
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BadSample("tar damaged within the shard") from error
    if [sample["__key__"] for sample in samples] != [entry.key]:
        raise BadSample("shard differs from its index")
    members = {name: value for name, value in samples[0].items() if not name.startswith("__")}
    return from_members(entry.key, members)


def read_clip_metadata(shard: BinaryIO, entry: ClipEntry) -> tuple[dict[str, Any], set[str]]:
    """The metadata of one clip in a shard, and the names of its members ("mp4", "mel.npy", …), without reading them.

    Raises BadSample when they cannot be read.
    """
    members, metadata = set(), None
    try:
        shard.seek(entry.offset)
        with tarfile.open(fileobj=shard, mode="r:") as tar:
            for member in tar:
                if member.offset >= entry.offset + entry.size:
                    break
                name = member.name.removeprefix(f"{entry.key}.")
                members.add(name)
                stream = tar.extractfile(member) if name == METADATA_MEMBER else None
                metadata = metadata if stream is None else read_metadata(stream.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadSample("shard unreadable") from error
    if metadata is None:
        raise BadSample("shard differs from its index")
    return metadata, members
