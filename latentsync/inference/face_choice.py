"""Who is driven: the largest face, all of them, one by its number from the left, or the person of a picture."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentsync.errors import UserError
from latentsync.face.embedding import FaceEmbedder, cosine
from latentsync.face.landmarks import FaceFinder, select_largest
from latentsync.face.tracking import TrackedFace
from latentsync.inference.options import ALL, LARGEST, LipSyncOptions
from latentsync.media.stills import read_image
from latentsync.weights.registry import find

Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Cosine from which two faces are one person's: GRID's people reach 0.81 to 0.99 with themselves in other clips, 0.46
# with each other.
SAME_PERSON = 0.6


class FaceChoice:
    """Chooses in each scene whom to follow, and stays with it until the scene ends or the person is gone for good.

    options: `face` says who. finder: looks for the face in a reference picture. embed: see `FaceEmbedder`, None = the
    fetched one. Raises UserError for a picture that cannot be read or has no face, and where the embedder is missing.
    """

    def __init__(self, options: LipSyncOptions, finder: FaceFinder, embed: Embed | None = None) -> None:
        self._all, self._largest = options.face == ALL, options.face == LARGEST
        self._index, self._picture = options.face_index, options.face_picture
        self._chosen: int | None = None
        self._most_faces, self._most_alike = 0, -1.0
        if self._picture is not None:
            self._embed = embed or FaceEmbedder(embedder_file(self._picture))
            self._person = _embedded(self._picture, finder, self._embed)

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
            self._most_faces = max(self._most_faces, len(faces))
            self._chosen = self._choose(faces, image)
        return [face for face in faces if face.track == self._chosen]

    def absent(self, video: Path) -> str | None:
        """Why nobody was ever chosen, although `video` shows faces, in one line; None where it shows none."""
        if self._most_faces == 0:
            return None
        if self._picture is not None:
            return (
                f"face '{self._picture}': the person is not in '{video}' (likeness {self._most_alike:.2f} at most, one "
                f"person has {SAME_PERSON} or more); give another picture, or face={LARGEST}"
            )
        last = self._most_faces - 1
        return f"face={self._index}: '{video}' never shows more than {last + 1} at once; give 0 to {last}"

    def _choose(self, faces: list[TrackedFace], image: np.ndarray) -> int | None:
        if self._largest:
            largest = select_largest(tracked.face for tracked in faces)
            return next((tracked.track for tracked in faces if tracked.face is largest), None)
        if self._index is not None:
            in_order = sorted(faces, key=lambda tracked: tracked.face.box[0] + tracked.face.box[2])
            return in_order[self._index].track if self._index < len(in_order) else None
        meshes = {tracked.track: tracked.face.mesh for tracked in faces}
        alike = {t: cosine(self._person, self._embed(image, mesh)) for t, mesh in meshes.items() if mesh is not None}
        best = max(alike, key=alike.__getitem__, default=None)
        if best is None:
            return None
        self._most_alike = max(self._most_alike, alike[best])
        return best if alike[best] >= SAME_PERSON else None


def check_face(options: LipSyncOptions) -> None:
    """Raise UserError unless what the choice of the face needs is there: the picture, and the embedder's weights."""
    if options.face_picture is None:
        return
    if not options.face_picture.is_file():
        raise UserError(f"face={options.face}: no such picture; give largest, all, a number from 0, or a picture")
    embedder_file(options.face_picture)


def embedder_file(picture: Path) -> Path:
    """The face embedder that the choice by `picture` needs. Raises UserError that says how to get it."""
    return find("mobilefacenet", f"face={picture}: needs the face embedder")


def _embedded(picture: Path, finder: FaceFinder, embed: Embed) -> np.ndarray:
    image = read_image(picture)
    finder.reset()
    face = select_largest(finder.find(image, 0.0))
    if face is None:
        raise UserError(f"face '{picture}': no face found in the picture; give one with a frontal face")
    if face.mesh is None:
        raise UserError(f"face '{picture}': choosing by a picture needs faces=mediapipe, not given landmarks")
    return embed(image, face.mesh)
