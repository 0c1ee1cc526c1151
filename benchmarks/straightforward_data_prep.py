"""Data preparation the straightforward way: each stage reads the files of the one before and writes files of its own.

So the published pipeline works: a clip is decoded and encoded once a stage. The functions, the encoder and the SyncNet
are those of `data_prep`; only the order of work differs. Faces are looked for once (the published pipeline does so
twice more, for the sync score and the quality).
"""

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from data_prep.align import TrackAligner
from data_prep.av_offset import SyncScorer, measure_offset
from data_prep.candidate import Candidate, FaceFrame, FaceLook
from data_prep.clips import ClipSettings
from data_prep.face_quality import LIGHT_EVERY, detail, look_at
from data_prep.face_tracks import FaceFinders, ShotTracker, TrackFrame
from data_prep.resample import SourceSound
from data_prep.shots import ShotSplitter
from data_prep.sources import find_sources
from latentsync.face import Face
from latentsync.media import VideoWriter
from latentsync.media.frames import SteadyFrame, read_frames_at
from latentsync.media.probe import probe_video
from latentsync.media.rates import FPS, SAMPLE_RATE

_BETWEEN_STAGES = 18  # crf, as published


def write(path: Path, frames: Iterator[np.ndarray], sound: np.ndarray) -> None:
    """A file between two stages."""
    first = next(frames)
    with VideoWriter(
        path, first.shape[1], first.shape[0], FPS, crf=_BETWEEN_STAGES, audio=(sound, SAMPLE_RATE)
    ) as writer:
        writer.write(first)
        for frame in frames:
            writer.write(frame)


def sound_of(path: Path, scratch: Path) -> SourceSound:
    """The sound of a file."""
    return SourceSound(path, scratch / "sound.raw", lambda share: None)


class Straightforward:
    """The stages one after the other, each from a folder to a folder below `folder`; seconds: of each stage."""

    def __init__(self, folder: Path, scorer: SyncScorer, settings: ClipSettings, resolution: int) -> None:
        self.folder, self.scorer, self.settings, self.resolution = folder, scorer, settings, resolution
        self.finders = FaceFinders()
        self.seconds: dict[str, float] = {}

    def run(self, videos: Path) -> int:
        """All stages; how many clips came out."""
        at = videos
        for stage in (self.resample, self.shots, self.pieces, self.align, self.sync, self.quality):
            out = self.folder / stage.__name__
            out.mkdir(parents=True)
            start = time.process_time()
            for source in find_sources(at):
                stage(source.path, out)
            self.seconds[stage.__name__] = time.process_time() - start
            at = out
        return len(list(at.iterdir()))

    def resample(self, path: Path, out: Path) -> None:
        sound = sound_of(path, self.folder)
        frames = (frame.image for frame in read_frames_at(path))
        write(out / f"{path.stem}{path.suffix[1:]}.mp4", frames, sound.between(0, sound.num_frames))

    def shots(self, path: Path, out: Path) -> None:
        splitter = ShotSplitter()
        found: dict[int, list[int]] = {}
        for frame in read_frames_at(path):
            for shot in splitter.push(frame):
                found.setdefault(shot.shot, []).append(shot.frame.index)
        for shot in splitter.flush():
            found.setdefault(shot.shot, []).append(shot.frame.index)
        self._cut(path, [(indices[0], indices[-1] + 1) for indices in found.values()], out)

    def pieces(self, path: Path, out: Path) -> None:
        count = round(probe_video(path).duration * FPS)
        step = self.settings.max_frames
        ranges = [(first, min(count, first + step)) for first in range(0, count, step)]
        self._cut(path, [(first, stop) for first, stop in ranges if stop - first >= self.settings.min_frames], out)

    def align(self, path: Path, out: Path) -> None:
        sound = sound_of(path, self.folder)
        for track, frames in faces_of(path, self.finders, self.resolution).items():
            if len(frames) >= self.settings.min_frames:
                wave = sound.between(frames[0].index, frames[-1].index + 1)
                write(out / f"{path.stem}_{track}.mp4", (frame.crop for frame in frames), wave)

    def sync(self, path: Path, out: Path) -> None:
        sound = sound_of(path, self.folder)
        frames = [whole_frame(frame) for frame in read_frames_at(path)]
        row = measure_offset(Candidate(0, 0, frames), sound, self.scorer)
        moved = sound.between(-int(row["offset_frames"]), len(frames) - int(row["offset_frames"]))
        write(out / path.name, (frame.crop for frame in frames), moved)

    def quality(self, path: Path, out: Path) -> None:
        frames = [frame.image for frame in read_frames_at(path)]
        for crop in (frames[0], frames[len(frames) // 2], frames[-1]):
            detail(crop)
        (out / path.name).write_bytes(path.read_bytes())

    def _cut(self, path: Path, ranges: list[tuple[int, int]], out: Path) -> None:
        """A file for each (first, stop) of ascending ranges, in one decode that ends with the last of them."""
        sound, frames = sound_of(path, self.folder), read_frames_at(path)
        at = 0
        for first, stop in ranges:
            pictures = (frame.image for frame in islice(frames, first - at, stop - at))
            write(out / f"{path.stem}_{first}.mp4", pictures, sound.between(first, stop))
            at = stop


def faces_of(path: Path, finders: FaceFinders, resolution: int) -> dict[int, list[FaceFrame]]:
    """Track -> its aligned frames."""
    tracks: dict[int, list[FaceFrame]] = {}
    tracker = ShotTracker(finders.open(path))
    aligners: dict[int, TrackAligner] = {}
    for frame in read_frames_at(path):
        for event in tracker.push(frame):
            if isinstance(event, TrackFrame):
                own = tracks.setdefault(event.track, [])
                aligner = aligners.setdefault(event.track, TrackAligner(resolution))
                own += aligner.push(event, look_at(frame.image, event.face, len(own) % LIGHT_EVERY == 0))
    return tracks


def whole_frame(frame: SteadyFrame) -> FaceFrame:
    """A picture that is an aligned crop."""
    side = frame.image.shape[0]
    face = Face(np.array([[0.25, 0.2], [0.75, 0.2], [0.5, 0.4]]) * side, (0, 0, side, side))
    look = FaceLook((side, side), None, (0, 0, 0), None)
    return FaceFrame(frame.index, frame.number, frame.time, face, True, look, frame.image, 1.0, 0.0)
