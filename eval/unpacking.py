"""Clips of shards as videos that can be lip-synced: cut from the sources, the wider crop, or the face alone."""

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from latentsync.data.sample import CONTEXT_MEMBER, BadSample, ClipSample
from latentsync.data.shards import ShardSet
from latentsync.errors import UserError
from latentsync.media.audio import decode_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.media.frames import SteadyFrame, read_frames_at
from latentsync.media.rates import FPS
from latentsync.media.video_writer import VideoWriter
from latentsync.work.files import write_whole

NEARLY_LOSSLESS = 8  # H.264 quality that browsers still play
ALIGNED, CONTEXT, SOURCES = "aligned faces", "context", "sources"
NEEDS_SURROUNDINGS = ("sync_v2", "fvd")
WHY_NOT = (
    "the shards hold faces cut tightly, and this looks beyond them; give sources=DIR (the videos that they were cut "
    "from), or prepare them with measure.clips.context=512"
)


@dataclass(frozen=True)
class Clip:
    """A clip of the shards; metadata: as in `latentsync.data.sample`."""

    index: int
    key: str
    metadata: dict[str, Any]
    has_context: bool

    @property
    def frames(self) -> range:
        """Numbers of its frames in the source, at 25 a second."""
        first = round(self.metadata["start"] * FPS)
        return range(first, first + self.metadata["num_frames"])


def clips_of(shards: ShardSet, num_clips: int | None) -> list[Clip]:
    """The first `num_clips` of the shards. Raises UserError where one cannot be read."""
    clips = []
    for index in range(len(shards) if num_clips is None else min(num_clips, len(shards))):
        key = shards.key(index)
        try:
            metadata, members = shards.read_metadata(index)
        except BadSample as error:
            raise _damaged(key, error) from error
        clips.append(Clip(index, key, metadata, CONTEXT_MEMBER in members))
    return clips


def pictures_of(clips: Sequence[Clip], sources: Path | None) -> str:
    """What the videos are made from: SOURCES if given, CONTEXT where all clips have it, else ALIGNED."""
    if sources is not None:
        return SOURCES
    return CONTEXT if all(clip.has_context for clip in clips) else ALIGNED


def unpack(shards: ShardSet, clips: Sequence[Clip], pictures: str, sources: Path | None, folder: Path) -> None:
    """Write each clip as KEY.mp4 with sound, KEY.wav and KEY.json (what is known of it). What is there already stays.

    Raises UserError for a clip or a source that cannot be read, is missing, or is another than it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo = [clip for clip in clips if not (folder / f"{clip.key}.mp4").is_file()]
    if sources is not None:
        for name in sorted({clip.metadata["source"] for clip in todo}):
            own = [clip for clip in todo if clip.metadata["source"] == name]
            _cut(_source(sources, name, own[0].key), own, shards, folder)
        return
    for clip in todo:
        try:
            _write(shards.read(clip.index), pictures, folder)
        except (BadSample, ValueError) as error:
            raise _damaged(clip.key, error) from error


def _damaged(key: str, error: Exception) -> UserError:
    return UserError(f"clip '{key}': {error}; look at it with: python -m data_prep.inspect verify=true")


def _write(sample: ClipSample, pictures: str, folder: Path) -> None:
    """From the shard alone. The aligned face as an upright one, not squeezed into a square as training wants it:
    inference aligns what it gets."""
    reader = ClipReader(sample.video if pictures == ALIGNED or sample.context is None else sample.context)
    frames = reader.read(range(len(reader)))
    height, width = upright_size(frames.shape[1]) if pictures == ALIGNED else frames.shape[1:3]
    landmarks = None
    if pictures == ALIGNED and (known := sample.metadata.get("truth", {}).get("landmarks3")):
        stretch = np.array([width, height]) / frames.shape[1]
        landmarks = (np.asarray(known) * stretch).round(3).tolist()
    _write_knowledge(sample, landmarks, folder)
    with _writer(sample, width, height, folder) as writer:
        for frame in frames:
            same = frame.shape[:2] == (height, width)
            writer.write(frame if same else cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC))


def _writer(sample: ClipSample, width: int, height: int, folder: Path) -> VideoWriter:
    write_whole(folder / f"{sample.key}.wav", sample.audio)
    sound, fps = decode_audio(sample.audio), sample.metadata["fps"]
    return VideoWriter(folder / f"{sample.key}.mp4", width, height, fps, crf=NEARLY_LOSSLESS, audio=sound)


def _write_knowledge(sample: ClipSample, landmarks: list[Any] | None, folder: Path) -> None:
    """KEY.json: the truth of synthetic clips, and landmarks in the pixels of KEY.mp4, where they are known."""
    truth = {name: value for name, value in sample.metadata.get("truth", {}).items() if name != "landmarks3"}
    truth |= {"landmarks3": landmarks} if landmarks else {}
    if truth:
        write_whole(folder / f"{sample.key}.json", json.dumps({"truth": truth}).encode())


def _source(sources: Path, name: str, key: str) -> Path:
    """The video that a clip says it was cut from."""
    parts = PurePosixPath(name).parts
    path = sources.joinpath(*parts)
    if not parts or PurePosixPath(name).is_absolute() or ".." in parts or not path.is_file():
        raise UserError(
            f"sources '{sources}': no '{name}', which clip '{key}' was cut from; give the folder that was the input of "
            "data_prep.prepare"
        )
    return path


def _cut(source: Path, clips: Sequence[Clip], shards: ShardSet, folder: Path) -> None:
    """All clips of one source, in one pass over it; at most those that show one moment are open at a time."""
    waiting = sorted(clips, key=lambda clip: clip.frames.start)
    active: list[_Cutting] = []
    try:
        for frame in read_frames_at(source, FPS):
            while waiting and waiting[0].frames.start <= frame.index:
                active.append(_Cutting(source, waiting.pop(0), shards, frame.image.shape, folder))
            for cutting in active:
                cutting.add(frame)
            active = [cutting for cutting in active if frame.index < cutting.clip.frames.stop - 1]
            if not waiting and not active:
                return
        short = active[0].clip if active else waiting[0]
        raise UserError(
            f"sources: '{source}' ends before clip '{short.key}' does; it is not what the clip was cut from"
        )
    except BaseException as error:
        for cutting in active:
            cutting.open.__exit__(type(error), error, error.__traceback__)
        raise


class _Cutting:
    """A clip that is being cut out of its source; shape: of the source's pictures."""

    def __init__(self, source: Path, clip: Clip, shards: ShardSet, shape: tuple[int, ...], folder: Path) -> None:
        self.clip, self.open = clip, ExitStack()
        self._window = _window(clip.metadata.get("window"), shape)
        left, top, right, bottom = self._window
        try:
            sample = shards.read(clip.index)
            _write_knowledge(sample, _landmarks(source, clip, self._window), folder)
            self._writer = self.open.enter_context(_writer(sample, right - left, bottom - top, folder))
        except (BadSample, ValueError) as error:
            raise _damaged(clip.key, error) from error

    def add(self, frame: SteadyFrame) -> None:
        """Take the source's next frame; the clip's file appears with its last."""
        left, top, right, bottom = self._window
        self._writer.write(np.ascontiguousarray(frame.image[top:bottom, left:right]))
        if frame.index == self.clip.frames.stop - 1:
            self.open.close()


def _window(given: Sequence[int] | None, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom): the head's surroundings during the clip, grown to multiples of 16 where the picture
    has room for that, see `upright_size`; the whole picture where they are not known."""
    height, width = shape[:2]
    x0, y0, x1, y1 = (0, 0, width, height) if given is None else given
    spans = []
    for low, high, size in ((x0, x1, width), (y0, y1, height)):
        span = min(-(-(high - low) // 16) * 16, size - size % 16 if size >= 16 else size)
        start = min(max(0, low), size - span)
        spans.append((start, start + span))
    return spans[0][0], spans[1][0], spans[0][1], spans[1][1]


def _landmarks(source: Path, clip: Clip, window: tuple[int, int, int, int]) -> list[Any] | None:
    """Of a synthetic source, in the pixels of the window; None where there are none beside it."""
    path = source.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = content.get("truth", content).get("landmarks3", [])[clip.frames.start : clip.frames.stop]
    except (ValueError, AttributeError, TypeError):
        return None
    return [None if points is None else (np.asarray(points) - window[:2]).round(3).tolist() for points in known]


def upright_size(resolution: int) -> tuple[int, int]:
    """(height, width) in the proportion of the canvas that crops are squeezed from, and no smaller than them.

    Multiples of 16: at other sizes the H.264 encoder does not always give the same bytes for the same frames.
    """
    unit = 16 * math.ceil(resolution / 48)
    return 4 * unit, 3 * unit
