"""The videos of an input folder, each under a name that does not depend on where the folder lies; and stage probe."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from data_prep.candidate import Rejected
from data_prep.manifest import Row
from latentsync.errors import UserError
from latentsync.media.probe import VIDEO_SUFFIXES, probe_video
from latentsync.work.records import fingerprint


@dataclass(frozen=True)
class Source:
    """name: path below the input folder, with '/'; path: where it is now."""

    name: str
    path: Path

    @property
    def id(self) -> str:
        """12 hexadecimal digits made from the name: videos of one file name in different folders stay apart."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:12]

    @property
    def slug(self) -> str:
        """The file's name without suffix, in characters that are safe in a clip key."""
        return re.sub(r"[^A-Za-z0-9_]+", "_", Path(self.name).stem).strip("_")[:40] or "video"

    def fingerprint(self) -> list[int]:
        """Another fingerprint, another video."""
        return fingerprint(self.path)


def find_sources(folder: str | Path) -> list[Source]:
    """All videos below `folder`, by suffix, sorted by name; hidden files and folders do not count.

    Raises UserError when the folder is missing or holds no video.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"input '{folder}': no such folder; give a folder of videos")
    names = [
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES and (path.is_file() or path.is_symlink())
    ]
    shown = sorted(name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts))
    if not shown:
        raise UserError(f"input '{folder}': holds no video ({', '.join(sorted(VIDEO_SUFFIXES))}); give another folder")
    return [Source(name, folder / name) for name in shown]


def probe(source: Source) -> Row:
    """Is this a video with pictures and sound, and what does its container say of it? The probe_… measurements.

    Raises Rejected for what cannot be read, and for a video without sound.
    """
    try:
        if source.path.stat().st_size == 0:
            raise Rejected("probe", "empty file")
        info = probe_video(source.path)
    except OSError as error:
        raise Rejected("probe", "cannot be read", str(error.strerror)) from error
    except UserError as error:
        raise Rejected("probe", "cannot be read", str(error)) from error
    row: Row = {
        "probe_seconds": round(info.duration, 3),
        "probe_width": info.width,
        "probe_height": info.height,
        "probe_fps": round(float(info.fps), 3),
        "probe_rotation": info.rotation,
    }
    if not info.has_audio:
        raise Rejected("probe", "no sound")
    return row
