"""What the mouth of a video does over time, by its landmarks: the truth of real lips, of which nobody knows more."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.face.landmarks import FaceFinder, large_enough, select_largest
from latentsync.media.frames import read_frames_at
from latentsync.media.rates import FPS
from latentsync.work.files import write_whole

# MediaPipe's face mesh: middles of the inner lips, inner corners of the mouth, forehead and chin.
_INNER_LIPS, _INNER_CORNERS, _FACE = (13, 14), (78, 308), (10, 152)
_VERSION = 1  # of what is stored: raised when the same video would give another track


@dataclass(frozen=True)
class MouthTrack:
    """A mouth at 25 frames a second. opening, width: (F,) float64, the distances of the inner lips' middles and of the
    inner corners over the height of the face; NaN where no face was found. faces: (F,) how many faces there were."""

    opening: np.ndarray
    width: np.ndarray
    faces: np.ndarray

    def __len__(self) -> int:
        return len(self.opening)

    def plain(self) -> dict[str, list[Any]]:
        """For JSON, with null for NaN."""
        values = {name: [None if np.isnan(v) else round(float(v), 6) for v in getattr(self, name)] for name in _NAMES}
        return {**values, "faces": self.faces.tolist()}

    @classmethod
    def from_plain(cls, content: dict[str, list[Any]]) -> "MouthTrack":
        """Of what `plain` gave. Raises KeyError, TypeError or ValueError for anything else."""
        opening, width = (np.array([np.nan if v is None else v for v in content[name]], float) for name in _NAMES)
        return cls(opening, width, np.array(content.get("faces", [1] * len(opening)), int))


_NAMES = ("opening", "width")


def mouth_size(mesh: np.ndarray) -> tuple[float, float]:
    """(opening, width) of one face mesh (478, 2), see `MouthTrack`."""
    lips, corners, height = (float(np.linalg.norm(mesh[a] - mesh[b])) for a, b in (_INNER_LIPS, _INNER_CORNERS, _FACE))
    return lips / height, corners / height


def track_of(sizes: Sequence[tuple[float, float] | None], faces: Sequence[int]) -> MouthTrack:
    """A track from what `mouth_size` gave for each frame, None for frames without a face."""
    values = np.array([(np.nan, np.nan) if size is None else size for size in sizes], float).reshape(-1, 2)
    return MouthTrack(values[:, 0], values[:, 1], np.array(faces, int))


def measure_track(video: Path, finder: FaceFinder) -> MouthTrack:
    """The mouth of the largest face in `video`. finder: of meshes. Raises UserError for what cannot be decoded."""
    finder.reset()
    sizes: list[tuple[float, float] | None] = []
    faces = []
    for frame in read_frames_at(video):
        found = large_enough(finder.find(frame.image, frame.index / FPS))
        largest = select_largest(found)
        sizes.append(None if largest is None or largest.mesh is None else mouth_size(largest.mesh))
        faces.append(len(found))
    return track_of(sizes, faces)


def stored_track(video: Path, finder: FaceFinder, folder: Path) -> MouthTrack:
    """`measure_track`, measured once: kept in `folder` by the video's path, size and time of change."""
    status = video.stat()
    mark = json.dumps([_VERSION, str(video.resolve()), status.st_size, status.st_mtime_ns])
    path = folder / f"{video.stem}-{hashlib.sha256(mark.encode()).hexdigest()[:16]}.json"
    try:
        return MouthTrack.from_plain(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        track = measure_track(video, finder)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(track.plain()).encode())
        return track


def why_unusable(track: MouthTrack, most_without: float = 0.1, most_crowded: float = 0.1) -> str | None:
    """Why a track cannot serve as the truth, or None: too short, too many frames without a face, two people.

    most_without, most_crowded: the largest shares of frames without a face, and with more than one.
    """
    if len(track) < FPS:
        return f"{len(track)} frames are too few, {FPS} are needed"
    without, crowded = float(np.isnan(track.opening).mean()), float((track.faces > 1).mean())
    if without > most_without:
        return f"no landmarks in {100 * without:.0f} % of its frames"
    if crowded > most_crowded:
        return f"more than one person in {100 * crowded:.0f} % of its frames"
    return None
