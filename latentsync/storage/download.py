"""Bringing a file here: in pieces, going on where a connection broke off, never another file than was asked for."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from latentsync.errors import UserError
from latentsync.storage.addresses import Patience, facts, filesystem, gave_up, refuse
from latentsync.work.files import sha256

PIECE = 8 << 20  # bytes of one request


@dataclass(frozen=True)
class RemoteFile:
    """A file elsewhere and what it has to be: bytes, if known; sha256, from an index; mark, what the server said of it
    when it was found (see `Facts`), where there is no sha256."""

    address: str
    bytes: int | None = None
    sha256: str | None = None
    mark: str | None = None


class Stopped(Exception):
    """The download was told to stop; what has arrived is kept."""


class _Another(Exception):
    """What arrived is not the file that was asked for."""


def download(file: RemoteFile, part: BinaryIO, patience: Patience, stopped: Callable[[], bool] = lambda: False) -> None:
    """Complete `part`, open for reading and writing, which may hold the file's first bytes from an earlier attempt.

    Raises UserError when the server has another file or does not give this one; Stopped; OSError from the disk.
    """
    failures, others, furthest = 0, 0, part.seek(0, 2)
    while True:
        try:
            _continue(file, part, patience, stopped)
            _check(file, part, patience)
            return
        except (UserError, Stopped):
            raise
        except _Another as error:
            others += 1
            part.truncate(0)
            if others == 2:  # the first time what an earlier attempt left may have been to blame
                raise UserError(f"'{file.address}': {error}") from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise
            refuse(error, file.address)
            arrived = part.seek(0, 2)
            failures = 1 if arrived > furthest else failures + 1
            furthest = max(furthest, arrived)
            if failures == patience.attempts:
                raise gave_up(error, file.address, failures) from error
            patience.wait(failures)


def _continue(file: RemoteFile, part: BinaryIO, patience: Patience, stopped: Callable[[], bool]) -> None:
    """Read on from where `part` ends; from the start where the server knows no ranges."""
    system, path = filesystem(file.address, patience)
    have = part.seek(0, 2)
    with system.open(path, "rb", block_size=PIECE, cache_type="none") as source:
        size = getattr(source, "size", None)
        if None not in (size, file.bytes) and size != file.bytes:
            raise _Another(f"{size:,} bytes there, {file.bytes:,} in its index; {_MEND}")
        size = file.bytes if size is None else size
        if have and (size is None or have > size or not source.seekable()):
            have = part.truncate(0)
        try:
            source.seek(part.seek(have))
            _copy(source, part, stopped)
        except ValueError:  # fsspec's word for a server that ignores ranges
            part.seek(part.truncate(0))
            with system.open(path, "rb", block_size=0) as stream:
                _copy(stream, part, stopped)
    arrived = part.seek(0, 2)
    if size is not None and arrived < size:
        raise ConnectionError(f"cut off after {arrived:,} of {size:,} bytes")
    if size is not None and arrived > size:
        raise _Another(f"{arrived:,} bytes came, {size:,} were announced")


def _copy(source: BinaryIO, part: BinaryIO, stopped: Callable[[], bool]) -> None:
    while piece := source.read(PIECE):
        part.write(piece)
        if stopped():
            raise Stopped


def _check(file: RemoteFile, part: BinaryIO, patience: Patience) -> None:
    if file.sha256 is not None:
        if sha256(part) != file.sha256:
            raise _Another(f"its SHA-256 is not the one in its index; {_MEND}")
    elif file.mark is not None and facts(file.address, patience).mark != file.mark:
        raise _Another("it has changed since this run found it; start again")


_MEND = "put the right file there, or write its index.json again"
