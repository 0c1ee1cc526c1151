"""Putting files elsewhere, whole or not at all."""

from pathlib import Path

from latentsync.errors import UserError
from latentsync.storage.addresses import Patience, filesystem, kind, persistently

_WHOLE = ("s3", "gs", "hf")  # an upload that breaks off leaves nothing at the address


def put(file: Path | bytes, address: str, patience: Patience) -> None:
    """Let the address have this content: a file, or bytes. Who reads there sees all of it or what was there before.

    Raises UserError: a place that takes no files, no right, an upload that fails again and again.
    """
    if kind(address) in ("http", "https"):
        raise UserError(f"'{address}': a web server takes no files; give a path, s3://, gs:// or hf://")

    def upload() -> None:
        system, path = filesystem(address, patience)
        aside = path if kind(address) in _WHOLE else f"{path}.part"
        if isinstance(file, bytes):
            system.pipe_file(aside, file)
        else:
            system.put_file(str(file), aside)
        if aside != path:
            system.mv(aside, path)

    persistently(upload, address, patience)
