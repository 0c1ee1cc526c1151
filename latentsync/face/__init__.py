"""Faces: landmarks, alignment, mouth mask and paste-back."""

from latentsync.face.alignment import AlignedFace, FaceAligner, canvas_size
from latentsync.face.landmarks import Face, FaceFinder, GivenFaces, MediaPipeFaceFinder, select_largest
from latentsync.face.paste_back import paste_back

__all__ = [
    "AlignedFace",
    "Face",
    "FaceAligner",
    "FaceFinder",
    "GivenFaces",
    "MediaPipeFaceFinder",
    "canvas_size",
    "paste_back",
    "select_largest",
]
