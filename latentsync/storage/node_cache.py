"""Copies of remote files on this machine, shared by all processes and runs that name the same folder.

A copy's name is made of the address and of what the file has to be, so that another version is another copy. A copy
appears whole, by a rename; while it is fetched its part is locked, and the lock goes with the process that holds it.
Who comes upon a part that nobody locks goes on where it ends.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from latentsync.errors import UserError
from latentsync.storage.addresses import Patience, split
from latentsync.storage.download import RemoteFile, download

GB = 10**9
_PART = ".part"
_TOUCH_EVERY = 5.0  # seconds


def default_folder() -> Path:
    """$XDG_CACHE_HOME/latentsync/shards, by default below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "latentsync" / "shards"


class NodeCache:
    """See the module. folder: None for `default_folder()`; limit: bytes of all copies; the least recently used go.

    Raises UserError, everywhere: a folder that cannot be written, a full disk, a file that cannot be had.
    """

    def __init__(self, folder: str | Path | None, limit: int, patience: Patience | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder)
        self.limit = limit
        self.patience = patience or Patience()
        self._touched: dict[str, float] = {}

    def open(self, file: RemoteFile) -> BinaryIO:
        """The file for reading, fetched first where it is not here. It stays readable when its copy is removed."""
        place = self.place(file)
        while True:
            try:
                opened = place.open("rb")
            except (FileNotFoundError, NotADirectoryError):
                self.fetch(file)
                continue
            self._touch(place)
            return opened

    def fetch(self, file: RemoteFile, wait: bool = True, stopped: Callable[[], bool] = lambda: False) -> bool:
        """See that the file is here. wait: for another process that is fetching it; otherwise False is returned.
        stopped: asked after each piece; `Stopped` is raised when it says yes."""
        place = self.place(file)
        part = place.with_name(f"{place.name}.{file.bytes or 0}{_PART}")
        while not place.exists():
            with self._writing(file), _locked(part, wait) as locked:
                if locked is None:
                    return False
                if _is_at(locked, part) and not place.exists():
                    self._make_room(file, place, locked)
                    download(file, locked, self.patience, stopped)
                    locked.flush()
                    os.fsync(locked.fileno())
                    part.rename(place)
        return True

    def place(self, file: RemoteFile) -> Path:
        """Where the copy is, or will be."""
        identity = "\n".join(str(fact) for fact in (file.address, file.bytes, file.sha256, file.mark))
        name = split(file.address)[1].partition("?")[0][-60:]
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}-{name}"

    def forget(self, file: RemoteFile) -> None:
        """Remove the copy, if there is one."""
        self.place(file).unlink(missing_ok=True)

    @contextmanager
    def _writing(self, file: RemoteFile) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._full(file) from error
            raise UserError(
                f"cache folder '{self.folder}': cannot be written ({error.strerror or error}); set data.cache_dir"
            ) from error

    def _full(self, file: RemoteFile) -> UserError:
        needed = f"{file.bytes / 1e6:,.0f} MB" if file.bytes else "more room"
        return UserError(
            f"cache folder '{self.folder}': the disk is full, '{file.address}' needs {needed}; free space there, or "
            "set data.cache_dir to another disk"
        )

    def _make_room(self, file: RemoteFile, place: Path, locked: BinaryIO) -> None:
        """Remove what was not used for longest until the file fits within the limit and on the disk."""
        coming = max(0, (file.bytes or 0) - os.fstat(locked.fileno()).st_size)
        copies = sorted(_copies(self.folder), key=lambda copy: copy[1])
        held = sum(size for _, _, size in copies)  # this part, too, is one, of the size that it will have
        while copies and (held > self.limit or shutil.disk_usage(self.folder).free < coming):
            oldest, _, size = copies.pop(0)
            if not oldest.name.startswith(place.name) and _removed(oldest):
                held -= size
        if shutil.disk_usage(self.folder).free < coming:
            raise self._full(file)

    def _touch(self, place: Path) -> None:
        now = time.monotonic()
        if now - self._touched.get(place.name, -_TOUCH_EVERY) >= _TOUCH_EVERY:
            self._touched[place.name] = now
            with suppress(OSError):  # removed by another process meanwhile
                os.utime(place)


def _copies(folder: Path) -> Iterator[tuple[Path, float, int]]:
    """(path, when it was last used, bytes that it has or will have) of each copy and part."""
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            status = entry.stat()
            if not entry.is_file():
                continue
            size = status.st_size
            if entry.name.endswith(_PART):
                size = max(size, int(entry.name.removesuffix(_PART).rpartition(".")[2]))
            yield Path(entry.path), status.st_mtime, size


def _removed(path: Path) -> bool:
    """Remove a copy, or a part that nobody is fetching; whether it is gone."""
    if path.name.endswith(_PART):
        with _locked(path, wait=False) as locked:
            if locked is None:
                return False
            path.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    return True


@contextmanager
def _locked(part: Path, wait: bool) -> Iterator[BinaryIO | None]:
    """The part, opened for reading and writing and locked; None where another one has the lock and `wait` is off."""
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
            return
        try:
            yield file
            if os.fstat(file.fileno()).st_size == 0 and _is_at(file, part):
                part.unlink(missing_ok=True)  # opened for nothing: the copy had just come
        finally:
            # Closing would not do: a process that was forked meanwhile has the file open, too, and the lock with it.
            fcntl.flock(file, fcntl.LOCK_UN)


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has this name; another process may have renamed it before the lock was ours."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
