"""Which of the people in a scene are driven: the largest, one by number or by picture, or all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentsync.errors import UserError
from latentsync.face.landmarks import FaceFinder, select_largest
from latentsync.face.likeness import face_look, likeness
from latentsync.face.tracking import TrackedFace
from latentsync.inference.options import ALL, LARGEST, LipSyncOptions
from latentsync.media.stills import read_image

_ALIKE = 0.5  # see `face.likeness`: what the same person reaches and others do not


class FaceChoice:
    """Chooses in each scene whom to follow, and stays with it until the scene ends or the person is gone for good.

    options: `face` says who. finder: looks for the face in a reference picture. Raises UserError for a picture that
    cannot be read or has no face.
    """

    def __init__(self, options: LipSyncOptions, finder: FaceFinder) -> None:
        self._all, self._largest = options.face == ALL, options.face == LARGEST
        self._index = options.face_index
        self._chosen: int | None = None
        picture = options.face_picture
        self._look = None if picture is None else _look_of(picture, finder)

    def restart(self) -> None:
        """Another scene: choose anew."""
        self._chosen = None

    def __call__(self, faces: list[TrackedFace], image: np.ndarray, known: Callable[[int], bool]) -> list[TrackedFace]:
        """Those of a frame's faces that are driven, at most one unless all are. known: who was there not long ago."""
        if self._all:
            return faces
        if self._chosen is not None and not known(self._chosen):
            self._chosen = None
        if self._chosen is None and faces:
            self._chosen = self._choose(faces, image)
        return [face for face in faces if face.track == self._chosen]

    def _choose(self, faces: list[TrackedFace], image: np.ndarray) -> int | None:
        if self._largest:
            largest = select_largest(tracked.face for tracked in faces)
            return next((tracked.track for tracked in faces if tracked.face is largest), None)
        if self._index is not None:
            in_order = sorted(faces, key=lambda tracked: tracked.face.box[0] + tracked.face.box[2])
            return in_order[self._index].track if self._index < len(in_order) else None
        assert self._look is not None
        alike = {tracked.track: likeness(self._look, face_look(image, tracked.face)) for tracked in faces}
        best = max(alike, key=alike.__getitem__)
        return best if alike[best] >= _ALIKE else None


def _look_of(picture: Path, finder: FaceFinder) -> np.ndarray:
    image = read_image(picture)
    finder.reset()
    face = select_largest(finder.find(image, 0.0))
    if face is None:
        raise UserError(f"face '{picture}': no face found in the picture; give one with a frontal face")
    return face_look(image, face)
