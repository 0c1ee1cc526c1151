"""The one pass over a source: its frames flow through the stages, what is measured and encoded stays.

Decoded pictures are held only for a moment (shots and gaps look a few frames ahead), and of each face at most
max_seconds + min_seconds of aligned crops: memory does not grow with the length of the video.
"""

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_prep.active_speaker import Mouths, measure_speaker
from data_prep.align import TrackAligner, measure_alignment
from data_prep.av_offset import measure_offset
from data_prep.candidate import Candidate, FaceFrame, Rejected
from data_prep.clips import TrackCutter, copy_clip, frames_with_sound, write_clip
from data_prep.face_quality import LIGHT_EVERY, look_at, measure_crop, measure_quality
from data_prep.face_tracks import ShotTracker, TrackEnd, TrackFrame, measure_track
from data_prep.limits import judge
from data_prep.manifest import ACCEPTED, REJECTED, THUMBNAILS, Limits, Row
from data_prep.parts import Parts, StageClock
from data_prep.resample import SourceSound, measure_resampling
from data_prep.seeing import Seeing
from data_prep.shots import ShotFrame
from data_prep.sources import Source, probe
from data_prep.store import NOTES, Earlier
from latentsync.errors import UserError
from latentsync.media.frames import SteadyFrame, read_frames_at
from latentsync.media.rates import FPS
from latentsync.work.files import write_whole
from latentsync.work.runner import Alive

_THUMBNAIL = 128  # pixels, the longer side
_JPEG_QUALITY = 85


@dataclass
class _Shot:
    """The shot that is passing: its first frame and the number after its last, its faces, and the rows it gave."""

    number: int
    begin: str
    first: SteadyFrame
    stop: int = 0
    mouths: Mouths = field(default_factory=Mouths)
    faces: dict[int, tuple[TrackCutter, TrackAligner]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def times(self) -> Row:
        return {"start": self.first.index / FPS, "end": self.stop / FPS}


class SourcePass:
    """Measures one source; `rows` and `clock` fill while it runs.

    folder: where clips and scratch go; output: the run's folder, for thumbnails; limits: candidates that they reject
    are measured but not encoded; None = all are encoded. earlier: what is not done again.
    """

    def __init__(
        self, source: Source, folder: Path, output: Path, parts: Parts, limits: Limits | None, earlier: Earlier
    ) -> None:
        self.rows: list[Row] = []
        self.clock = StageClock()
        self._source, self._folder, self._output, self._parts, self._limits = source, folder, output, parts, limits
        self._earlier = earlier
        self._measured = {_cut_of(row): row for row in earlier.rows}
        self._base: Row = {"source": source.name, "source_id": source.id}
        self._shot: _Shot | None = None

    def run(self, alive: Alive) -> None:
        """Do all of it. Raises Rejected for the source as a whole; the rows before that stay."""
        with self.clock.stage("probe"):
            self._source, about = probe(self._source)
            self._base |= about
        with self.clock.stage("resample"):
            apart, track = self._source.sound, self._parts.measuring.audio_track
            heard, track = (self._source.path, track) if apart is None else (apart, None)
            self._sound = SourceSound(heard, self._folder / "sound.raw", alive, track)
        try:
            with closing(self._parts.seeing(self._source, self._folder / NOTES, self._earlier.notes)) as seeing:
                self._frames(alive, seeing)
        finally:
            self._sound.path.unlink()

    def reject(self, rejected: Rejected) -> None:
        """Add the row of the source that is turned down."""
        times = {"start": 0.0, "end": self._base.get("probe_seconds")}
        self.rows.append(self._row("source", self._source.id, times | _verdict(rejected)))

    def _frames(self, alive: Alive, seeing: Seeing) -> None:
        tracker = self._parts.tracker(seeing)
        frames = read_frames_at(self._source.path)
        broken: UserError | None = None
        while True:
            try:
                with self.clock.stage("resample"):
                    frame = next(frames, None)
            except UserError as error:  # what came before it is good
                broken, frame = error, None
            if frame is None:
                break
            alive(min(1.0, frame.index / FPS / max(1.0, self._base["probe_seconds"])))
            with self.clock.stage("shots"):
                decided = list(seeing.push(frame))
            for shot_frame in decided:
                self._pass(shot_frame, tracker)
        for shot_frame in seeing.flush():
            self._pass(shot_frame, tracker)
        self._end_shot(tracker)
        if broken is not None:
            raise Rejected("resample", "cannot be decoded to its end", str(broken)) from broken

    def _pass(self, shot_frame: ShotFrame, tracker: ShotTracker) -> None:
        if shot_frame.begin is not None:
            self._end_shot(tracker)
            self._shot = _Shot(shot_frame.shot, shot_frame.begin, shot_frame.frame)
        assert self._shot is not None
        self._shot.stop = shot_frame.frame.index + 1
        with self.clock.stage("faces"):
            events = list(tracker.push(shot_frame.frame))
        for event in events:
            if isinstance(event, TrackEnd):
                self._end_track(self._shot, event.track)
            else:
                self._face(self._shot, event)

    def _face(self, shot: _Shot, tracked: TrackFrame) -> None:
        """One face in one frame: look at it, align it, and measure the candidates that are complete by then."""
        if tracked.track not in shot.faces:
            measuring = self._parts.measuring
            aligner = TrackAligner(measuring.resolution, measuring.box_size, self._parts.clips.context or 0)
            shot.faces[tracked.track] = (TrackCutter(shot.number, tracked.track, self._parts.clips), aligner)
        cutter, aligner = shot.faces[tracked.track]
        with self.clock.stage("crop"):
            look = look_at(tracked.frame.image, tracked.face, aligner.seen % LIGHT_EVERY == 0)
        shot.mouths.remember(tracked.track, tracked.frame.index, look.opening)
        with self.clock.stage("align"):
            ready = aligner.push(tracked, look)
        self._cut(shot, cutter, ready)

    def _cut(self, shot: _Shot, cutter: TrackCutter, frames: list[FaceFrame]) -> None:
        for frame in frames:
            for candidate in cutter.add(frame):
                self._candidate(shot, candidate)

    def _end_track(self, shot: _Shot, track: int) -> None:
        cutter, aligner = shot.faces.pop(track)
        with self.clock.stage("align"):
            ready = aligner.end()
        self._cut(shot, cutter, ready)
        for candidate in cutter.end():
            self._candidate(shot, candidate)
        seconds = {"faces_seconds": cutter.seen / FPS}
        mine = [row for row in shot.rows if row["track"] == track]
        for row in mine:
            row |= seconds
        if not mine and cutter.last is not None:
            rejected = Rejected("faces", "face track too short", self._too_short(cutter.seen))
            stop = cutter.last.index + 1
            about = {"shot": shot.number, "track": track, "start": (stop - cutter.seen) / FPS, "end": stop / FPS}
            row = self._row("track", f"{shot.number:05d}-{track:04d}", about | seconds | _verdict(rejected))
            shot.rows.append(row | {"thumbnail": self._thumbnail(row, cutter.last.crop)})

    def _end_shot(self, tracker: ShotTracker) -> None:
        """End the shot's tracks; a shot that is too short or without a face gets a row of its own."""
        shot = self._shot
        if shot is None:
            return
        for end in tracker.end_shot():
            self._end_track(shot, end.track)
        frames = shot.stop - shot.first.index
        rejected = None
        if frames < self._parts.clips.min_frames:
            rejected, shot.rows = Rejected("shots", "shot too short", self._too_short(frames)), []
        elif not shot.rows:
            rejected = Rejected("faces", "no face")
        if rejected is not None:
            row = self._row("shot", f"{shot.number:05d}", shot.times | _verdict(rejected) | {"shot": shot.number})
            shot.rows.append(row | {"thumbnail": self._thumbnail(row, shot.first.image)})
        about = {"shots_seconds": frames / FPS, "shots_begin": shot.begin}
        self.rows += [row | about for row in shot.rows]
        self._shot = None

    def _candidate(self, shot: _Shot, candidate: Candidate) -> None:
        """Measure, and encode unless the limits say that nobody wants it."""
        frames, times = candidate.frames, {"start": candidate.first / FPS, "end": candidate.stop / FPS}
        row = self._row("clip", f"{shot.number:05d}-{candidate.track:04d}-{candidate.first:07d}", times)
        row |= {"shot": shot.number, "track": candidate.track}
        row |= {"clip_key": f"{self._source.slug}_{self._source.id}_{candidate.first:07d}_{candidate.track:03d}"}
        row |= {"thumbnail": self._thumbnail(row, frames[len(frames) // 2].crop)}
        row |= self._known(row) or self._measure(shot, candidate)
        with self.clock.stage("clips"):
            first, stop = frames_with_sound(candidate, self._sound, int(row.get("offset_frames") or 0))
            row["clips_seconds"] = (stop - first) / FPS
            wanted = self._limits is None or judge(row, self._limits)["fate"] == ACCEPTED
            if "metadata" in row and not copy_clip(self._earlier.folder, self._folder, row["clip_key"]):
                del row["metadata"]
            if "metadata" not in row and wanted and stop > first:
                row |= write_clip(self._folder, row["clip_key"], candidate, self._sound, row, self._parts.clips)
        shot.rows.append(row)

    def _known(self, row: Row) -> Row | None:
        """What was measured, and perhaps encoded, of a candidate of the same frames."""
        return self._measured.get(_cut_of(row))

    def _measure(self, shot: _Shot, candidate: Candidate) -> Row:
        """All that is measured of a candidate before it is encoded."""
        frames = candidate.frames
        row: Row = {}
        with self.clock.stage("faces"):
            row |= measure_track(frames, shot.mouths.num_others(candidate.track, candidate.first, candidate.stop))
        with self.clock.stage("crop"):
            row |= measure_crop(frames)
        with self.clock.stage("speaker"):
            wave = self._sound.between(candidate.first, candidate.stop)
            row |= measure_speaker(*shot.mouths.compared(candidate.track, candidate.first, candidate.stop), wave)
        with self.clock.stage("resample"):
            row |= measure_resampling(frames)
        with self.clock.stage("align"):
            row |= measure_alignment(frames)
        if self._parts.scorer is not None:
            with self.clock.stage("offset"):
                row |= measure_offset(candidate, self._sound, self._parts.scorer)
        with self.clock.stage("quality"):
            row |= measure_quality(frames, self._parts.iqa)
        return row

    def _too_short(self, frames: int) -> str:
        least = self._parts.clips.min_seconds
        return f"{frames / FPS:.2f} s; measure.clips.min_seconds is {least:g}: a lower one admits it"

    def _row(self, level: str, name: str, values: Row) -> Row:
        return {**self._base, "row_id": f"{self._source.id}-{name}", "level": level, **values}

    def _thumbnail(self, row: Row, image: np.ndarray) -> str:
        """Write a small JPEG of an image; its path below the output folder."""
        path = f"{THUMBNAILS}/{row['row_id']}.jpg"
        scale = _THUMBNAIL / max(image.shape[:2])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        if not done:
            raise ValueError(f"cannot encode a thumbnail of shape {image.shape}")
        write_whole(self._output / path, data.tobytes())
        return path


def _verdict(rejected: Rejected) -> Row:
    return {"fate": REJECTED, "stage": rejected.stage, "reason": rejected.reason, "detail": rejected.detail or None}


def _cut_of(row: Row) -> tuple[Any, ...]:
    """Which frames of which face a candidate is cut from; that it is cut so again, nothing else tells."""
    return row["shot"], row["track"], row["start"], row["end"]
