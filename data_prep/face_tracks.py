"""Stage faces: every face its own track through a shot; short gaps are interpolated, long ones end the track."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.candidate import FaceFrame, Rejected
from data_prep.manifest import Row
from latentsync.errors import UserError
from latentsync.face.face_file import FacesFromFile
from latentsync.face.landmarks import Face, FaceFinder, MediaPipeFaceFinder, check_model
from latentsync.media.frames import SteadyFrame
from latentsync.media.rates import FPS
from latentsync.weights.registry import known, place

_SAME_FACE = 0.5  # two finds in one frame that overlap more are one face
_MEDIAPIPE, _SIDECAR = "mediapipe", "json"


@dataclass(frozen=True)
class TrackFrame:
    """A face of a track in a frame; found: False where it is interpolated."""

    track: int
    frame: SteadyFrame
    face: Face
    found: bool


@dataclass(frozen=True)
class TrackEnd:
    """No more frames of this track will come."""

    track: int


class ShotTracker:
    """Follows all faces of a video.

    finder: finds the faces of a frame. max_gap: frames that a face may be missing and is interpolated (N). min_overlap:
    intersection over union of a face's boxes in neighbouring frames, at least.
    """

    def __init__(self, finder: FaceFinder, max_gap: int = 5, min_overlap: float = 0.3) -> None:
        if max_gap < 0 or not 0 < min_overlap < 1:
            raise UserError("measure.tracks: max_gap from 0, min_overlap between 0 and 1")
        finder.reset()
        self._finder, self._max_gap, self._min_overlap = finder, max_gap, min_overlap
        self._recent: deque[SteadyFrame] = deque(maxlen=max_gap + 1)
        self._last: dict[int, tuple[int, Face]] = {}  # track -> (frame number, face) when it was last found
        self._next = 0

    def push(self, frame: SteadyFrame) -> Iterator[TrackFrame | TrackEnd]:
        """Take a shot's next frame. Interpolated frames come late, when the face is found again."""
        faces = _distinct(self._finder.find(frame.image, frame.index / FPS))
        for track in [name for name, (seen, _) in self._last.items() if frame.index - seen > self._max_gap + 1]:
            del self._last[track]
            yield TrackEnd(track)
        self._recent.append(frame)
        for track, face in self._assign(faces):
            if track in self._last:
                yield from self._gap(track, frame.index, face)
            self._last[track] = (frame.index, face)
            yield TrackFrame(track, frame, face, True)

    def end_shot(self) -> Iterator[TrackEnd]:
        """All tracks end; frames after the last find are not interpolated."""
        for track in sorted(self._last):
            yield TrackEnd(track)
        self._last.clear()
        self._recent.clear()

    def _assign(self, faces: list[Face]) -> list[tuple[int, Face]]:
        """Faces to tracks, the best overlap first; a face without one begins a track."""
        pairs = sorted(
            (
                (-overlap(face.box, seen.box), track, number)
                for number, face in enumerate(faces)
                for track, (_, seen) in self._last.items()
            ),
        )
        taken: dict[int, int] = {}  # face number -> track
        for negative, track, number in pairs:
            if -negative >= self._min_overlap and number not in taken and track not in taken.values():
                taken[number] = track
        for number in range(len(faces)):
            if number not in taken:
                taken[number] = self._next
                self._next += 1
        return sorted((track, faces[number]) for number, track in taken.items())

    def _gap(self, track: int, index: int, face: Face) -> Iterator[TrackFrame]:
        seen, before = self._last[track]
        for frame in self._recent:
            if seen < frame.index < index:
                yield TrackFrame(track, frame, between(before, face, (frame.index - seen) / (index - seen)), False)


def measure_track(frames: list[FaceFrame], num_others: int) -> Row:
    """faces_… of a candidate; num_others: faces seen beside it."""
    return {
        "faces_found": round(sum(frame.found for frame in frames) / len(frames), 4),
        "faces_others": num_others,
    }


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


def between(before: Face, after: Face, share: float) -> Face:
    """The face on a straight way from `before` (share 0) to `after` (1)."""

    def mix(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (1 - share) * one + share * other

    mesh = None if before.mesh is None or after.mesh is None else mix(before.mesh, after.mesh)
    x0, y0, x1, y1 = mix(np.array(before.box), np.array(after.box)).tolist()
    return Face(mix(before.landmarks3, after.landmarks3), (x0, y0, x1, y1), mesh)


def _distinct(faces: list[Face]) -> list[Face]:
    """One of each: the landmarker at times reports a face twice."""
    kept: list[Face] = []
    for face in faces:
        if all(overlap(face.box, other.box) <= _SAME_FACE for other in kept):
            kept.append(face)
    return kept


class SidecarFaces:
    """Faces out of the JSON file beside a video, NAME.json beside NAME.mp4, as `infer.py`'s `faces=` takes them; frames
    may be passed over. Raises Rejected for a file that is missing, damaged or too short."""

    def __init__(self, path: Path) -> None:
        try:
            self._faces = FacesFromFile(path)
        except UserError as error:
            raise Rejected("faces", "no usable landmarks file beside it", str(error)) from error
        self._next = 0

    def find(self, frame: np.ndarray, time: float) -> list[Face]:
        """The faces at `time`, which must not go back."""
        found: list[Face] = []
        for _ in range(self._next, round(time * FPS) + 1):
            try:
                found = self._faces.find(frame, time)
            except UserError as error:
                raise Rejected("faces", "landmarks file ends before the video", str(error)) from error
            self._next += 1
        return found

    def reset(self) -> None:
        """Begin again."""
        self._faces.reset()
        self._next = 0


class FaceFinders:
    """Opens the finder for a source. kind: "mediapipe", or "json" for landmarks beside each video. num_faces: at most
    so many a frame; min_confidence: of MediaPipe. Raises UserError for another kind or a missing model."""

    def __init__(self, kind: str = _MEDIAPIPE, num_faces: int = 4, min_confidence: float = 0.5) -> None:
        self.check(kind)
        self._mediapipe: MediaPipeFaceFinder | None = None
        if kind == _MEDIAPIPE:
            # A face too small for it would be too small for training as well.
            self._mediapipe = MediaPipeFaceFinder(_model(), num_faces, min_confidence, small_faces=False)

    @staticmethod
    def check(kind: str = _MEDIAPIPE, num_faces: int = 4, min_confidence: float = 0.5) -> None:
        """Raise UserError for what the constructor would refuse, without loading anything."""
        if kind not in (_MEDIAPIPE, _SIDECAR):
            raise UserError(f"measure.finder.kind={kind}: choose {_MEDIAPIPE} or {_SIDECAR}")
        if num_faces < 1 or not 0 <= min_confidence <= 1:
            raise UserError("measure.finder: num_faces from 1, min_confidence from 0 to 1")
        if kind == _MEDIAPIPE:
            check_model(_model())

    @property
    def takes_long(self) -> bool:
        """Whether looking for faces is work, and not the reading of a file."""
        return self._mediapipe is not None

    def open(self, video: Path) -> FaceFinder:
        """The finder, at the start of this video."""
        return self._mediapipe or SidecarFaces(video.with_suffix(".json"))


def _model() -> Path:
    return place(known("face-landmarker").files[0])
