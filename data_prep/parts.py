"""What measurements depend on, the stages that are built from it once in each process, and the time they take."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from data_prep.av_offset import ScorerMaker
from data_prep.clips import ClipSettings
from data_prep.face_quality import HyperIqa
from data_prep.face_tracks import FaceFinders, ShotTracker
from data_prep.manifest import STAGES
from data_prep.seeing import Looking, Remembering, Seeing
from data_prep.shots import ShotSplitter
from data_prep.sources import Source
from latentsync.errors import UserError
from latentsync.face.landmarks import FaceFinder, GivenFaces
from latentsync.media.audio_streams import check_track
from latentsync.work.gpus import own_device

_LENGTHS = ("min_seconds", "max_seconds")  # of `ClipSettings`: how tracks are cut, not what is measured of a clip


@dataclass(frozen=True)
class Measuring:
    """Settings that measurements and encoded clips depend on, a group of arguments for each stage.

    resolution: side of the crops in pixels. shots: of `ShotSplitter`; finder: of `FaceFinders`; tracks: of
    `ShotTracker`; clips: of `ClipSettings`; hyperiqa: whether to run it; device: where. box_size: S of the crops around
    the face's box that the sync scorer wants, 0 = it takes the aligned crops. audio_track: a number from 0 or a
    language tag, None: each source's default track.
    """

    resolution: int = 256
    shots: Mapping[str, Any] = field(default_factory=dict)
    finder: Mapping[str, Any] = field(default_factory=dict)
    tracks: Mapping[str, Any] = field(default_factory=dict)
    clips: Mapping[str, Any] = field(default_factory=dict)
    hyperiqa: bool = False
    device: str = "cpu"
    box_size: int = 0
    audio_track: str | int | None = None

    def __post_init__(self) -> None:
        check_track(self.audio_track)
        if self.resolution < 32 or self.resolution % 8:
            raise UserError(f"measure.resolution={self.resolution}: give a multiple of 8, at least 32")

    @property
    def seen_with(self) -> list[Any]:
        """What shots and faces depend on."""
        return [dict(self.shots), dict(self.finder)]

    @property
    def measured_with(self) -> dict[str, Any]:
        """What the measurements of a clip depend on, once it is cut."""
        clips = {name: value for name, value in self.clips.items() if name not in _LENGTHS}
        return {**asdict(self), "clips": clips, "device": None}

    @property
    def cut_with(self) -> list[Any]:
        """What the cuts depend on beside that."""
        return [self.clips.get(name) for name in _LENGTHS]


class Parts:
    """The stages, ready to work. make_scorer: loads the sync scorer; None leaves that stage out.

    Raises UserError for missing weights and for settings out of range.
    """

    def __init__(self, measuring: Measuring, make_scorer: ScorerMaker | None) -> None:
        self.measuring = measuring
        self.clips = ClipSettings(**measuring.clips)
        self.iqa = HyperIqa(own_device(measuring.device)) if measuring.hyperiqa else None
        self.scorer = None if make_scorer is None else make_scorer()
        self._finders = FaceFinders(**measuring.finder)
        self._splitter()

    def seeing(self, source: Source, notes: Path, earlier: Path | None) -> Seeing:
        """For the shots and faces of one video. notes: where to write them down; earlier: what was written down of it.

        Raises Rejected where its landmarks should lie beside it and do not.
        """
        if earlier is not None:
            shutil.copyfile(earlier, notes)
            return Remembering(notes)
        finder = self._finders.open(source.path)
        return Looking(self._splitter(), finder, notes if self._finders.takes_long else None)

    def tracker(self, finder: FaceFinder) -> ShotTracker:
        """For the faces of one video."""
        return ShotTracker(finder, **self.measuring.tracks)

    def _splitter(self) -> ShotSplitter:
        return ShotSplitter(**self.measuring.shots)


def check_needs(measuring: Measuring, make_scorer: ScorerMaker | None) -> None:
    """Raise UserError for settings out of range and for a network that is missing, without loading any."""
    ClipSettings(**measuring.clips)
    ShotSplitter(**measuring.shots)
    FaceFinders.check(**measuring.finder)
    ShotTracker(GivenFaces([]), **measuring.tracks)
    if measuring.hyperiqa:
        HyperIqa.check()
    if make_scorer is not None:
        make_scorer.check()


class StageClock:
    """Seconds spent in each stage, summed up."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what runs inside for this stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start
