"""One video, and its reference, through all metrics: a stream of moments at 25 a second."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.metric import FramePair, Heard, Measurement, Metric, NotComputed
from eval.mouth_tracks import MouthTrack
from latentsync.errors import UserError
from latentsync.face.alignment import FaceAligner, crop_with
from latentsync.face.face_file import MEDIAPIPE, FacesFromFile, open_face_finder
from latentsync.face.landmarks import Face, FaceFinder, select_largest
from latentsync.media.audio import load_audio
from latentsync.media.frames import read_frames_at
from latentsync.media.probe import probe_video
from latentsync.media.rates import FPS
from latentsync.work.runner import Alive


@dataclass(frozen=True)
class Scores:
    """values: name -> number; features: name -> (n, D), of metrics of sets; missing: name -> why there is no value;
    frames: moments looked at; without_face: of these, how many were left out."""

    values: dict[str, float] = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    without_face: int = 0


class Faces:
    """The largest face of each frame. kind: "mediapipe", or "json": NAME.json beside NAME.mp4 holds landmarks3."""

    def __init__(self, kind: str) -> None:
        if kind not in (MEDIAPIPE, "json"):
            raise UserError(f"finder={kind}: choose {MEDIAPIPE} or json")
        self._kind = kind
        self._finder: FaceFinder | None = None

    def open(self, video: Path) -> FaceFinder:
        """For the frames of one video from its first on. Raises UserError."""
        if self._kind == "json":
            return FacesFromFile(video.with_suffix(".json"))
        if self._finder is None:
            self._finder = open_face_finder(MEDIAPIPE)
        else:
            self._finder.reset()
        return self._finder


class VideoScorer:
    """metrics: group -> metric; resolution: R of the aligned crops; finder: see `Faces`."""

    def __init__(self, metrics: Mapping[str, Metric], resolution: int, finder: str) -> None:
        self._metrics, self._resolution = metrics, resolution
        self._faces, self._reference_faces = Faces(finder), Faces(finder)

    def score(self, video: Path, reference: Path | None, alive: Alive) -> Scores:
        """video against reference, frame by frame as far as the shorter one goes. Raises UserError when one of them
        cannot be read, or shows no face at all."""
        running: dict[str, Measurement] = {name: metric.begin() for name, metric in self._metrics.items()}
        missing: dict[str, str] = {}
        frames = faces = 0
        for pair in self._pairs(video, reference):
            frames += 1
            alive(0.0)
            if pair is None:
                continue
            faces += 1
            for name in list(running):
                try:
                    running[name].add(pair)
                except NotComputed as reason:
                    self._drop(running, name, missing, reason)
        if faces == 0:
            raise UserError(f"video '{video}': no face in any of its {frames} frames")
        heard = _heard(video)
        values: dict[str, float] = {}
        features: dict[str, np.ndarray] = {}
        for name in list(running):
            try:
                found = running[name].values(heard)
            except NotComputed as reason:
                self._drop(running, name, missing, reason)
                continue
            features |= {key: value for key, value in found.items() if isinstance(value, np.ndarray)}
            values |= {key: float(value) for key, value in found.items() if not isinstance(value, np.ndarray)}
        return Scores(values, features, missing, frames, frames - faces)

    def _drop(self, running: dict[str, Measurement], name: str, missing: dict[str, str], reason: Exception) -> None:
        del running[name]
        missing |= {definition.name: str(reason) for definition in self._metrics[name].definitions}

    def _pairs(self, video: Path, reference: Path | None) -> Iterator[FramePair | None]:
        """The moments; None where no face is found."""
        finder = self._faces.open(video)
        other = None if reference is None else self._reference_faces.open(reference)
        aligner = FaceAligner(self._resolution)
        known = iter(()) if reference is None else read_frames_at(reference)
        for frame, true in zip_longest(read_frames_at(video), known):
            if frame is None or (reference is not None and true is None):
                return
            face = select_largest(finder.find(frame.image, frame.index / FPS))
            true_face: Face | None = None
            if other is not None:
                true_face = select_largest(other.find(true.image, frame.index / FPS))
            guide = face if other is None else true_face
            if guide is None:
                yield None
                continue
            crop = aligner.align(frame.image, guide.landmarks3)
            if other is None:
                yield FramePair(frame.index, frame.image, crop.crop, face, matrix=crop.matrix)
                continue
            if true.image.shape != frame.image.shape:
                raise UserError(
                    f"video '{video}': {frame.image.shape[1]} × {frame.image.shape[0]} pixels, its reference "
                    f"'{reference}' has {true.image.shape[1]} × {true.image.shape[0]}; scale one of them"
                )
            true_crop = crop_with(true.image, crop.matrix, self._resolution)
            yield FramePair(
                frame.index, frame.image, crop.crop, face, true.image, true_crop, true_face, matrix=crop.matrix
            )


def _heard(video: Path) -> Heard:
    """The video's sound, and what the JSON beside it knows: the mouths of the speech and of the source, as drawn
    ("driving_truth" or "truth", "source_truth") or as seen ("driving_track", "source_track")."""
    wave = load_audio(video) if probe_video(video).has_audio else None
    path = video.with_suffix(".json")
    if not path.is_file():
        return Heard(wave)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        driving, source = (content.get(f"{name}_track") for name in ("driving", "source"))
        tracks = [None if track is None else MouthTrack.from_plain(track) for track in (driving, source)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{path}': not JSON of mouths ({error})") from error
    truth: Any = content.get("driving_truth") or content.get("truth") or content
    own: Any = content.get("source_truth") or {}
    return Heard(
        wave,
        opening=_values(truth, "opening", float),
        pause=_values(truth, "pause", bool),
        own_opening=_values(own, "opening", float),
        driving_track=tracks[0],
        source_track=tracks[1],
    )


def _values(truth: Mapping[str, Any], name: str, kind: type) -> np.ndarray | None:
    found = truth.get(name)
    return None if found is None else np.asarray(found, dtype=kind)
