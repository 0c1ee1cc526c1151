"""Faces that are known beforehand, from a JSON file; and the choice between that and finding them."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from latentsync.errors import UserError
from latentsync.face.landmarks import Face, FaceFinder, GivenFaces, MediaPipeFaceFinder

MEDIAPIPE = "mediapipe"


class FacesFromFile(GivenFaces):
    """Faces that a JSON file brings along, one entry for each frame of the input.

    path: a file with "landmarks3" (at its top or inside "truth"), as synthetic heads have it: a list of [[x, y], [x,
    y], [x, y]] in pixels (left brow, right brow, nose), null for a frame without a face. Raises UserError for
    anything else, and from `find` when the video has more frames than the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        entries = _read_landmarks(self.path)
        super().__init__(entries)
        self._count = len(entries)

    def find(self, frame: np.ndarray, time: float) -> list[Face]:
        """The faces of the next frame."""
        try:
            return super().find(frame, time)
        except IndexError as error:
            raise UserError(
                f"faces '{self.path}': holds {self._count} frames, the input has more; give one entry a frame"
            ) from error


def open_face_finder(faces: str | Path = MEDIAPIPE) -> FaceFinder:
    """`mediapipe`, or the path of a landmarks JSON (see `FacesFromFile`). Raises UserError."""
    if str(faces) == MEDIAPIPE:
        from latentsync.weights.registry import known, place

        return MediaPipeFaceFinder(place(known("face-landmarker").files[0]))
    return FacesFromFile(faces)


def _read_landmarks(path: Path) -> list[list[Face] | np.ndarray]:
    if not path.is_file():
        raise UserError(f"faces '{path}': no such file; give {MEDIAPIPE} or the path of a landmarks JSON")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"faces '{path}': not JSON ({error}); give {MEDIAPIPE} or a landmarks JSON") from error
    entries = _entries(content)
    if not entries:
        raise UserError(f"faces '{path}': no list 'landmarks3' in it; give one [[x, y], [x, y], [x, y]] a frame")
    return [_points(path, number, entry) for number, entry in enumerate(entries)]


def _entries(content: Any) -> list[Any] | None:
    if isinstance(content, dict) and isinstance(content.get("truth"), dict):
        content = content["truth"]
    if isinstance(content, dict):
        content = content.get("landmarks3")
    return content if isinstance(content, list) else None


def _points(path: Path, number: int, entry: Any) -> list[Face] | np.ndarray:
    if entry is None:
        return []
    try:
        points = np.asarray(entry, dtype=np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.shape != (3, 2) or not np.isfinite(points).all():
        raise UserError(f"faces '{path}': entry {number} of 'landmarks3' is not three points [x, y] or null")
    return points
