"""Stage offset: by how many frames sound and lips are apart, how sure that is, and the sound moved to mend it."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_prep.candidate import Candidate, FaceFrame
from data_prep.manifest import Row
from data_prep.resample import SourceSound
from latentsync.errors import UserError
from latentsync.weights.registry import NAMES, known, place
from latentsync.work.gpus import own_device

MAX_SHIFT = 15  # frames, as in the published evaluation
# What `fetch` calls the weights of each scorer: they are looked for before seconds go into importing it.
_FETCHED = {
    "eval.syncnet_v2.SyncNetV2Scorer": "syncnet-v2",
    "data_prep.stable_syncnet_scorer.StableSyncNetScorer": "stable-syncnet",
}
_NOT_MEASURED = ("device", "batch_size")  # arguments of scorers that do not change what they say


class OffsetScore(Protocol):
    """offset: frames by which the sound is early (delay it by so many to mend it); confidence: best against median."""

    @property
    def offset(self) -> int: ...

    @property
    def confidence(self) -> float: ...


class SyncScorer(Protocol):
    """A SyncNet, ours or SyncNet v2."""

    def score(self, frames: np.ndarray, wave: np.ndarray) -> Any:
        """A `OffsetScore` of frames (F, S, S, 3) uint8 RGB at 25 fps and their sound (N,) float at 16 kHz."""
        ...


@dataclass(frozen=True)
class ScorerMaker:
    """Makes a sync scorer where it is needed, in a worker: the parent neither imports nor loads it.

    target: the scorer's class, "module.Class"; arguments: of its constructor.
    """

    target: str
    arguments: Mapping[str, Any]

    def check(self) -> None:
        """Raise UserError where its weights are not there, without importing it."""
        name, weights = _FETCHED.get(self.target), self.arguments.get("weights")
        if weights is None and name is not None:
            weights = place(known(name).files[0])
        if weights is not None and not Path(weights).exists() and str(weights) not in NAMES:
            fetch = f"run `python -m latentsync.weights fetch {name}`, " if name is not None else ""
            raise UserError(
                f"syncnet: weights '{weights}' are not there; {fetch}give syncnet.weights=PATH, or set syncnet=none to "
                "leave the stage out"
            )

    @property
    def module(self) -> str:
        """Where the class is."""
        return self.target.rpartition(".")[0]

    def __call__(self) -> SyncScorer:
        """Import, build. Raises UserError for missing weights."""
        made = getattr(importlib.import_module(self.module), self.target.rpartition(".")[2])
        try:
            own = {name: own_device(value) if name == "device" else value for name, value in self.arguments.items()}
            return made(**own)
        except UserError as error:
            raise UserError(f"syncnet: {error}; or set syncnet=none to leave the stage out") from error

    def described(self) -> Any:
        """What its scores depend on."""
        arguments = {name: value for name, value in self.arguments.items() if name not in _NOT_MEASURED}
        return [self.target, arguments]


class Score:
    """See `OffsetScore`. accuracy: share of the windows that fit their own sound best, to a frame, within ±15."""

    def __init__(self, offset: int, confidence: float, accuracy: float) -> None:
        self.offset, self.confidence, self.accuracy = offset, confidence, accuracy


def best_shift(cosines: np.ndarray, starts: np.ndarray) -> Score:
    """Offset and confidence from the cosines of video windows, which begin at frames `starts` (W,), with the sound at
    every frame, (W, A)."""
    shifts = np.arange(-MAX_SHIFT, MAX_SHIFT + 1)
    places = starts[:, None] + shifts  # (W, S)
    inside = (places >= 0) & (places < cosines.shape[1])
    fits = np.where(inside, np.take_along_axis(cosines, places.clip(0, cosines.shape[1] - 1), axis=1), np.nan)
    means = np.array([np.nanmean(fit) if there.any() else -1.0 for fit, there in zip(fits.T, inside.T)])
    best = int(np.argmax(means))
    own = np.nanargmax(fits, axis=1)
    # The lips match sound that comes `shift` frames later: it is late by that, early by its negative.
    confidence = float(means[best] - np.median(means))
    return Score(MAX_SHIFT - best, confidence, float((np.abs(shifts[own]) <= 1).mean()))


def measure_offset(candidate: Candidate, sound: SourceSound, scorer: SyncScorer) -> Row:
    """offset_… of a candidate; `offset_after` is measured with the corrected sound."""
    pictures = _pictures(candidate.frames)
    before = scorer.score(pictures, sound.between(candidate.first, candidate.stop))
    after = before
    if before.offset:
        moved = sound.between(candidate.first - before.offset, candidate.stop - before.offset)
        after = scorer.score(pictures, moved)
    return {
        "offset_frames": float(before.offset),
        "offset_confidence": round(before.confidence, 4),
        "offset_after": float(after.offset),
    }


def _pictures(frames: list[FaceFrame]) -> np.ndarray:
    return np.stack([frame.crop if frame.box_crop is None else frame.box_crop for frame in frames])
