"""Synthetic talking heads as raw video with landmarks beside it, and the settings that prepare them quickly."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_prep.av_offset import Score
from data_prep.parts import Measuring
from latentsync.media.video_writer import VideoWriter
from latentsync.synthetic.clip import SyntheticClip, draw_clip
from latentsync.work.runner import Outcome, answer

RESOLUTION = 64


def draw_head(identity: int, seconds: float = 2.0, resolution: int = RESOLUTION) -> SyntheticClip:
    """A held-out person in a scene."""
    return draw_clip(identity_seed=identity, seconds=seconds, resolution=resolution, seed=1, mode="scene")


def write_head(path: Path, clip: SyntheticClip, sound_delay: int = 0) -> None:
    """The clip as a video with landmarks beside it; its sound comes `sound_delay` frames late."""
    height, width = clip.frames.shape[1:3]
    wave = np.roll(clip.wave, sound_delay * 640)
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, width, height, clip.fps, crf=10, audio=(wave, clip.sample_rate)) as writer:
        for frame in clip.frames:
            writer.write(frame)
    path.with_suffix(".json").write_text(json.dumps(clip.truth()))


def write_silent(path: Path, clip: SyntheticClip) -> None:
    """The clip as a video without sound, with landmarks beside it."""
    height, width = clip.frames.shape[1:3]
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, width, height, clip.fps, crf=10) as writer:
        for frame in clip.frames:
            writer.write(frame)
    path.with_suffix(".json").write_text(json.dumps(clip.truth()))


class CountingScorer:
    """Finds every sound in sync, and remembers how many frames it was asked about."""

    asked: ClassVar[list[int]] = []

    def score(self, frames: np.ndarray, wave: np.ndarray) -> Score:
        self.asked.append(len(frames))
        return Score(0, 1.0, 1.0)


def measuring(**changes: Any) -> Measuring:
    """Settings for the folder of heads: small crops, landmarks from the files, clips of one to two seconds."""
    base: dict[str, Any] = {
        "resolution": RESOLUTION,
        "finder": {"kind": "json"},
        "clips": {"min_seconds": 1.0, "max_seconds": 2.0},
    }
    return Measuring(**{**base, **changes})


class HereRunner:
    """Works in this process, and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def map(self, work: Any, items: Iterable[Any], tell: Any = None) -> Iterator[Outcome[Any]]:
        for item in items:
            self.asked.append(getattr(item, "name", item))
            yield Outcome(item, *answer(work, item, self._alive))

    def _alive(self, share: float) -> None:
        assert 0 <= share <= 1
