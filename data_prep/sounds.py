"""Sounds that lie apart from their videos, found by name: NAME.wav, .flac, .m4a or .mp3 for NAME.mp4."""

import unicodedata
from pathlib import Path

from latentsync.errors import UserError

SOUND_SUFFIXES = (".wav", ".flac", ".m4a", ".mp3")
"""The first is taken where several lie beside one video."""


def name_of(path: str | Path) -> str:
    """A path without its suffix, with '/', in Unicode's composed form: names that look the same are the same."""
    return unicodedata.normalize("NFC", Path(path).with_suffix("").as_posix())


def find_sounds(folder: Path) -> dict[str, list[Path]]:
    """name -> files, in the order of the suffixes, of all sounds below `folder`; hidden ones do not count.

    Raises UserError for a folder that is missing.
    """
    if not folder.is_dir():
        raise UserError(f"audio '{folder}': no such folder; give a folder of sounds")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in place.parts)
        if path.suffix.lower() in SOUND_SUFFIXES and not hidden and path.is_file():
            found.setdefault(name_of(place), []).append(path)
    for paths in found.values():
        paths.sort(key=lambda path: SOUND_SUFFIXES.index(path.suffix.lower()))
    return found
