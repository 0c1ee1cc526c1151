"""The videos of an input folder, each under a name that does not depend on where the folder lies; and stage probe."""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.candidate import Rejected
from data_prep.manifest import Row
from data_prep.sounds import SOUND_SUFFIXES, find_sounds, name_of
from latentsync.errors import UserError
from latentsync.media.probe import VIDEO_SUFFIXES, probe_video
from latentsync.work.records import fingerprint


@dataclass(frozen=True)
class Source:
    """name: path below the input folder, with '/'; path: where it is now; sound: a file with its sound, None = the
    video's own; beside: such a file that lies beside the video, for one that turns out to be silent."""

    name: str
    path: Path
    sound: Path | None = None
    beside: Path | None = None

    @property
    def id(self) -> str:
        """12 hexadecimal digits made from the name: videos of one file name in different folders stay apart."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:12]

    @property
    def slug(self) -> str:
        """The file's name without suffix, in characters that are safe in a clip key."""
        return re.sub(r"[^A-Za-z0-9_]+", "_", Path(self.name).stem).strip("_")[:40] or "video"

    def fingerprint(self) -> list[int]:
        """Another fingerprint, another video or another sound."""
        sound = self.sound or self.beside
        return fingerprint(self.path) + ([] if sound is None else fingerprint(sound))


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


def with_sounds(sources: list[Source], input: Path, audio: Path | None) -> tuple[list[Source], dict[str, list[str]]]:
    """The sources with their sound, and the names of those without a partner, "sounds" and "videos".

    audio: a folder of sounds that bear the videos' names; None, or for videos without one there: their own sound, and
    for those that are silent the sound beside them. Raises UserError for a folder without sounds, with two of one name,
    or with none that fits.
    """
    near = find_sounds(input)
    sources = [replace(source, beside=_first(near, source)) for source in sources]
    if audio is None:
        return sources, {}
    found = find_sounds(audio)
    if not found:
        raise UserError(f"audio '{audio}': holds no sound ({', '.join(SOUND_SUFFIXES)}); give another folder")
    for paths in found.values():
        if len(paths) > 1:
            raise UserError(f"'{paths[0]}' and '{paths[1]}' have one name; rename or remove one of them")
    paired = [replace(source, sound=_first(found, source)) for source in sources]
    alone = {
        "sounds": sorted(set(found) - {name_of(source.name) for source in sources}),
        "videos": sorted(source.name for source in paired if source.sound is None),
    }
    if len(alone["videos"]) == len(sources):
        raise UserError(
            f"audio '{audio}' and input '{input}' have no name in common ('{alone['sounds'][0]}', "
            f"'{alone['videos'][0]}', …); call what belongs together by one name"
        )
    return paired, alone


def _first(sounds: dict[str, list[Path]], source: Source) -> Path | None:
    return sounds.get(name_of(source.name), [None])[0]


def probe(source: Source) -> tuple[Source, Row]:
    """Is this a video with pictures and sound, and what does its container say of it? The probe_… measurements, and
    the source with the sound that lies beside it if it has none itself.

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
    if source.sound is None and not info.has_audio:
        source = replace(source, sound=source.beside)
        if source.sound is None:
            stem = Path(source.name).stem
            raise Rejected("probe", "no sound", f"nor is there {stem}{', '.join(SOUND_SUFFIXES)} beside it")
    return source, row | {"probe_sound": None if source.sound is None else source.sound.name}
