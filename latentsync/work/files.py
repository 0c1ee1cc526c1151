"""Files and folders that are there whole or not at all: written under a hidden name beside their place, then renamed.

Whatever is hidden and ends in ".part" is being written, or was left by a process that was killed.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_whole(path: str | Path, data: bytes | str) -> None:
    """Let a file have this content; text is written as UTF-8. Raises OSError, and then leaves what was there."""
    with written_whole(path) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def written_whole(path: str | Path, lasting: bool = False) -> Iterator[Path]:
    """A name to write a file under, which takes the place of `path` when the block ends well.

    The name has a suffix of its own: whoever writes the file has to be told the format. The folder is made if it is
    missing. lasting: flushed to the disk first, so that it also outlives a power cut.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = hidden_name(path)
    try:
        yield part
        if lasting:
            _flush(part)
        part.replace(path)
        if lasting:
            _flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: str | Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of `folder`, and of all that was in it, when the block ends well."""
    folder = Path(folder)
    part, before = hidden_name(folder), hidden_name(folder)
    part.mkdir(parents=True)
    try:
        yield part
        while not _renamed(part, folder):
            with suppress(FileNotFoundError):
                folder.rename(before)
            shutil.rmtree(before, ignore_errors=True)
    finally:
        for leftover in (part, before):
            shutil.rmtree(leftover, ignore_errors=True)


def hidden_name(path: Path) -> Path:
    """A name beside `path` that nobody else uses, and that no search for files of its suffix finds."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")


def remove_leftovers(folder: str | Path, pattern: str = "*") -> None:
    """Remove what killed processes left of files and folders named like `pattern` in `folder`."""
    for path in Path(folder).glob(f".{pattern}.*.part"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def sha256(file: BinaryIO) -> str:
    """Hexadecimal SHA-256 of a whole file, from its beginning."""
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _renamed(part: Path, folder: Path) -> bool:
    """Rename a folder; False where another one is in its place."""
    try:
        part.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
