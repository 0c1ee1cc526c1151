"""What measurements depend on, the stages that are built from it once in each process, and the time they take."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from data_prep.av_offset import ScorerMaker
from data_prep.clips import ClipSettings
from data_prep.face_quality import HyperIqa
from data_prep.face_tracks import FaceFinders, ShotTracker
from data_prep.manifest import STAGES
from data_prep.shots import ShotSplitter
from data_prep.sources import Source
from latentsync.errors import UserError
from latentsync.media.audio_streams import check_track


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


class Parts:
    """The stages, ready to work. make_scorer: loads the sync scorer; None leaves that stage out.

    Raises UserError for missing weights and for settings out of range.
    """

    def __init__(self, measuring: Measuring, make_scorer: ScorerMaker | None) -> None:
        self.measuring = measuring
        self.clips = ClipSettings(**measuring.clips)
        self.iqa = HyperIqa(measuring.device) if measuring.hyperiqa else None
        self.scorer = None if make_scorer is None else make_scorer()
        self._finders = FaceFinders(**measuring.finder)
        self.splitter()

    def splitter(self) -> ShotSplitter:
        """For the shots of one video."""
        return ShotSplitter(**self.measuring.shots)

    def tracker(self, source: Source) -> ShotTracker:
        """For the faces of one video. Raises Rejected where its landmarks should lie beside it and do not."""
        return ShotTracker(self._finders.open(source.path), **self.measuring.tracks)


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
