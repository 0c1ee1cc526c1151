"""Stage clips: tracks cut into candidates of 5 to 10 s, and a candidate encoded, once, as it will lie in a shard."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.candidate import Candidate, FaceFrame
from data_prep.manifest import Row
from data_prep.resample import SourceSound
from latentsync import __version__
from latentsync.data.sample import CONTEXT_MEMBER, VIDEO_MEMBER, ClipSample, validate
from latentsync.errors import UserError
from latentsync.face.head_box import head_box, surroundings
from latentsync.media.audio import encode_wav
from latentsync.media.rates import FPS, SAMPLE_RATE
from latentsync.media.video_writer import encode_clip
from latentsync.work.files import write_whole


@dataclass(frozen=True)
class ClipSettings:
    """min_seconds, max_seconds: of a clip. crf: H.264 quality, less is better; gop: frames between key frames.
    context: side in pixels of a second video of each clip, the head with its surroundings, for evaluation; None = none.

    Raises UserError for a range too narrow to cut every track into.
    """

    min_seconds: float = 5.0
    max_seconds: float = 10.0
    crf: int = 14
    gop: int = 8
    context: int | None = None

    def __post_init__(self) -> None:
        if self.min_seconds <= 0 or self.max_seconds < 2 * self.min_seconds:
            raise UserError("measure.clips: min_seconds above 0, and max_seconds at least twice as long")
        if not 0 <= self.crf <= 51 or self.gop < 1:
            raise UserError("measure.clips: crf from 0 to 51, gop from 1")
        if self.context is not None and (self.context < 64 or self.context % 16):
            raise UserError(f"measure.clips.context={self.context}: give a multiple of 16 from 64 on, or null for none")

    @property
    def min_frames(self) -> int:
        return round(self.min_seconds * FPS)

    @property
    def max_frames(self) -> int:
        return round(self.max_seconds * FPS)


class TrackCutter:
    """Cuts one track, as it comes, into candidates; at most max + min seconds of it are in memory."""

    def __init__(self, shot: int, track: int, settings: ClipSettings) -> None:
        self.shot, self.track, self.seen = shot, track, 0
        self.last: FaceFrame | None = None
        self._settings = settings
        self._frames: list[FaceFrame] = []

    def add(self, frame: FaceFrame) -> list[Candidate]:
        """Take the next frame; give the candidate that it completes."""
        self._frames.append(frame)
        self.seen, self.last = self.seen + 1, frame
        settings = self._settings
        if len(self._frames) < settings.max_frames + settings.min_frames:
            return []
        return [self._cut(settings.max_frames)]

    def end(self) -> list[Candidate]:
        """What is left as one candidate, or two halves; nothing where the track is shorter than the shortest clip."""
        left = len(self._frames)
        if left < self._settings.min_frames:
            return []
        if left <= self._settings.max_frames:
            return [self._cut(left)]
        return [self._cut(left // 2), self._cut(left - left // 2)]

    def _cut(self, count: int) -> Candidate:
        frames, self._frames = self._frames[:count], self._frames[count:]
        return Candidate(self.shot, self.track, frames)


def frames_with_sound(candidate: Candidate, sound: SourceSound, offset: int) -> tuple[int, int]:
    """(first, stop) of the candidate's frames that have sound once it is moved by `offset` frames."""
    first = max(candidate.first, offset)
    return first, max(first, min(candidate.stop, sound.num_frames + offset))


def write_clip(
    folder: Path, key: str, candidate: Candidate, sound: SourceSound, row: Row, settings: ClipSettings
) -> Row:
    """Encode a candidate with its sound moved by the measured offset, less the frames that then have no sound.

    Writes `folder`/KEY.mp4, KEY.wav and, where the frames have one, KEY.context.mp4. Returns the clips_… measurements
    and "metadata", the clip's KEY.json.
    """
    offset = int(row.get("offset_frames") or 0)
    first, stop = frames_with_sound(candidate, sound, offset)
    frames = candidate.frames[first - candidate.first : stop - candidate.first]
    parts = {
        VIDEO_MEMBER: encode_clip((frame.crop for frame in frames), fps=FPS, gop=settings.gop, crf=settings.crf),
        "wav": encode_wav(sound.between(first - offset, stop - offset), SAMPLE_RATE),
    }
    contexts = [frame.context for frame in frames if frame.context is not None]
    if contexts:
        parts[CONTEXT_MEMBER] = encode_clip(contexts, fps=FPS, gop=settings.gop, crf=settings.crf)
    for suffix, data in parts.items():
        write_whole(folder / f"{key}.{suffix}", data)
    return {
        "clips_frames": stop - first,
        "clips_bytes": sum(len(data) for data in parts.values()),
        "metadata": _metadata(frames, candidate, first, stop, row),
    }


def read_clip(folder: Path, key: str, metadata: dict) -> ClipSample:
    """A written clip as the shard writer takes it. Raises OSError where a file is missing."""
    context = folder / f"{key}.{CONTEXT_MEMBER}"
    return ClipSample(
        key,
        (folder / f"{key}.{VIDEO_MEMBER}").read_bytes(),
        (folder / f"{key}.wav").read_bytes(),
        metadata,
        context=context.read_bytes() if context.is_file() else None,
    )


def copy_clip(folder: Path, to: Path, key: str) -> bool:
    """Copy a written clip to another folder; False where one of its files is missing."""
    paths = [folder / f"{key}.{suffix}" for suffix in (VIDEO_MEMBER, "wav", CONTEXT_MEMBER)]
    there = [path for path in paths if path.is_file()]
    for path in there:
        shutil.copyfile(path, to / path.name)
    return set(paths[:2]) <= set(there)


def window(frames: Sequence[FaceFrame]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the picture's part that holds the head and its surroundings in all frames."""
    squares = np.array([surroundings(head_box(frame.face)) for frame in frames])
    width, height = frames[0].look.picture
    low = np.floor(squares[:, :2].min(axis=0)).clip(0, (width, height))
    high = np.ceil((squares[:, :2] + squares[:, 2:]).max(axis=0)).clip(0, (width, height))
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _metadata(frames: Sequence[FaceFrame], candidate: Candidate, first: int, stop: int, row: Row) -> dict:
    """As in `latentsync.data.sample`; offset: what is left of it, source_offset: what was corrected."""
    metadata = {
        "source": row["source"],
        "start": first / FPS,
        "end": stop / FPS,
        "fps": FPS,
        "resolution": int(candidate.frames[0].crop.shape[0]),
        "num_frames": stop - first,
        "software_version": __version__,
        "shot": candidate.shot,
        "track": candidate.track,
        "window": list(window(frames)),
    }
    if row.get("offset_frames") is not None:
        metadata |= {
            "offset": int(row["offset_after"]),
            "source_offset": int(row["offset_frames"]),
            "confidence": row["offset_confidence"],
        }
    validate(metadata)
    return metadata
