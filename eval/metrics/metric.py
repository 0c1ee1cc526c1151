"""What a metric is: definitions, and a measurement that takes the frames of one video as they come."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from eval.mouth_tracks import MouthTrack
from latentsync.face.landmarks import Face

Values = dict[str, float]


class NotComputed(Exception):
    """A metric has no value for this video; the message is the reason."""


@dataclass(frozen=True)
class Definition:
    """One number. title: for tables; better: which way is good ("none": neither); source: where the definition is from.

    against: "truth": needs the true frames of what was generated; "source": needs some video of the person; "sound":
    needs the speech; "nothing". decimals: in tables. of_set: a number of all videos together, not of each. note: a
    sentence that goes below every table, without its full stop.
    """

    name: str
    title: str
    unit: str
    better: Literal["higher", "lower", "none"]
    meaning: str
    source: str
    against: Literal["truth", "source", "sound", "nothing"] = "nothing"
    decimals: int = 3
    of_set: bool = False
    note: str = ""

    @property
    def arrow(self) -> str:
        """↑ or ↓, or nothing."""
        return {"higher": " ↑", "lower": " ↓", "none": ""}[self.better]


@dataclass(frozen=True)
class FramePair:
    """A moment at 25 a second in the video that is scored and in its reference; times agree.

    image, reference_image: (H, W, 3) uint8 RGB; crop, reference_crop: (R, R, 3) aligned, both by the reference's
    landmarks where there is one; face, reference_face: as found; reference_…: None without a reference; matrix: (2, 3),
    image to canvas, of both crops.
    """

    index: int
    image: np.ndarray
    crop: np.ndarray
    face: Face | None
    reference_image: np.ndarray | None = None
    reference_crop: np.ndarray | None = None
    reference_face: Face | None = None
    matrix: np.ndarray | None = None


@dataclass(frozen=True)
class Heard:
    """What is known of a video beside its pictures. wave (N,) float32 16 kHz or None.

    Of drawn heads: opening, pause: (F,) of the speech that drives it; own_opening: (F,) of the source video.
    Of real people: driving_track, source_track: the mouths of the video that the speech came from, and of the source.
    """

    wave: np.ndarray | None = None
    opening: np.ndarray | None = None
    pause: np.ndarray | None = None
    own_opening: np.ndarray | None = None
    driving_track: MouthTrack | None = None
    source_track: MouthTrack | None = None


class Measurement(Protocol):
    """Of one video."""

    def add(self, pair: FramePair) -> None:
        """Take the next moment."""
        ...

    def values(self, heard: Heard) -> dict[str, Any]:
        """Name -> number; for metrics of sets name -> features (n, D). Raises NotComputed."""
        ...


class Metric(Protocol):
    """Makes measurements; holds networks. Its constructor raises UserError where weights are missing."""

    definitions: Sequence[Definition]

    def begin(self) -> Measurement:
        """For the next video."""
        ...


class FrameMean:
    """A measurement that is the mean over frames of what `score` gives for chunks of them.

    score: list of FramePair -> list of dicts. Frames are handed over a chunk at a time, so that memory is bounded.
    """

    def __init__(self, score: Callable[[list[FramePair]], list[Values]], chunk: int = 8) -> None:
        self._score, self._chunk = score, chunk
        self._waiting: list[FramePair] = []
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, pair: FramePair) -> None:
        self._waiting.append(pair)
        if len(self._waiting) == self._chunk:
            self._flush()

    def values(self, heard: Heard) -> dict[str, Any]:
        self._flush()
        if self._count == 0:
            raise NotComputed("no frame with a face")
        return {name: total / self._count for name, total in self._sums.items()}

    def _flush(self) -> None:
        if not self._waiting:
            return
        for scores in self._score(self._waiting):
            self._count += 1
            for name, value in scores.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
        self._waiting = []


def reference_crop(pair: FramePair) -> np.ndarray:
    """Raises NotComputed where there is no reference."""
    if pair.reference_crop is None:
        raise NotComputed("no reference video")
    return pair.reference_crop


def weights_file(path: str | Path | None, name: str) -> Path:
    """`path`, or where `fetch NAME` puts the file. Raises UserError when it is absent."""
    from latentsync.errors import UserError
    from latentsync.weights.registry import known, place

    found = place(known(name).files[0]) if path is None else Path(path)
    if not found.is_file():
        raise UserError(f"weights '{found}' are missing; get them with: python -m latentsync.weights fetch {name}")
    return found
