"""What the stages hand to each other: a face in a frame at 25 a second, and a run of those, the clip candidate."""

from dataclasses import dataclass

import numpy as np

from latentsync.face.landmarks import Face


class Rejected(Exception):
    """A stage turns a source down. reason: without numbers, so that reasons can be counted; detail: with them."""

    def __init__(self, stage: str, reason: str, detail: str = "") -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage, self.reason, self.detail = stage, reason, detail


@dataclass(frozen=True)
class FaceLook:
    """What is kept of a face in one picture; of the picture itself nothing.

    picture: (width, height). opening: of the mouth, in face heights, None without a mesh. pose: yaw, pitch, roll in
    degrees. light: (sharpness, brightness, clipped, blockiness), see `face_quality`, None in frames not looked at.
    """

    picture: tuple[int, int]
    opening: float | None
    pose: tuple[float, float, float]
    light: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class FaceFrame:
    """One face in one frame, and where that frame stands in the source (number, time).

    found: False where the face is interpolated. crop: (R, R, 3) uint8 RGB, aligned. scale: crop pixels a source pixel.
    outside: share of the crop beyond the picture. box_crop, context: (S, S, 3) uint8 RGB, what
    SyncNet v2 sees and the head with its surroundings, where asked for.
    """

    index: int
    number: int
    time: float
    face: Face
    found: bool
    look: FaceLook
    crop: np.ndarray
    scale: float
    outside: float
    box_crop: np.ndarray | None = None
    context: np.ndarray | None = None


@dataclass(frozen=True)
class Candidate:
    """Consecutive frames of one face that may become a clip; shot, track: numbers in the source."""

    shot: int
    track: int
    frames: list[FaceFrame]

    @property
    def first(self) -> int:
        """Number of its first frame."""
        return self.frames[0].index

    @property
    def stop(self) -> int:
        """One after its last frame."""
        return self.frames[-1].index + 1
