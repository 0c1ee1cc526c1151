"""What came out of a job, and what became of each frame."""

import json
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

from latentsync.errors import UserError
from latentsync.media.rates import FPS
from latentsync.work.files import write_whole


class Fate(StrEnum):
    """What became of an output frame."""

    GENERATED = "generated"
    INTERPOLATED = "interpolated"  # generated, where the face was put between two finds
    NO_FACE = "no face"  # passed through unchanged
    NO_SOUND = "no sound"  # passed through unchanged: the sound had ended


@dataclass(frozen=True)
class LipSyncReport:
    """The result of one job."""

    output: Path  # the video written
    num_frames: int
    num_windows: int  # that went through the network
    seed: int  # give it to get the same frames again
    fates: tuple[Fate, ...]  # one for each frame
    duration: float | None = None  # seconds of the pictures; None = at 25 frames a second
    guidance_scale: float | None = None  # that was used; None = not told

    @property
    def seconds(self) -> float:
        """Duration of the pictures."""
        return self.num_frames / FPS if self.duration is None else self.duration

    def count(self, fate: Fate) -> int:
        """How many frames met it."""
        return Counter(self.fates)[fate]

    def __str__(self) -> str:
        passed = self.count(Fate.NO_FACE)
        unchanged = f", {passed} without a face left as they are" if passed else ""
        guidance = "" if self.guidance_scale is None else f", guidance {self.guidance_scale:g}"
        told = f"{self.num_frames} frames, {self.seconds:.2f} s{unchanged}{guidance}, seed {self.seed}"
        return f"{self.output}: {told}"

    def as_json(self) -> dict[str, Any]:
        """For `write_report`: frames are counted by fate, and listed as runs [first, last, fate]."""
        runs, first = [], 0
        for fate, run in groupby(self.fates):
            count = sum(1 for _ in run)
            runs.append([first, first + count - 1, fate.value])
            first += count
        return {
            "output": str(self.output),
            "num_frames": self.num_frames,
            "seconds": round(self.seconds, 4),
            "num_windows": self.num_windows,
            "seed": self.seed,
            "guidance_scale": self.guidance_scale,
            "counts": {fate.value: self.count(fate) for fate in Fate},
            "frames": runs,
        }


def write_report(report: LipSyncReport, path: str | Path, **more: Any) -> None:
    """Write a report and `more` beside it to a JSON file, whole or not at all. Raises UserError where it cannot be."""
    try:
        write_whole(path, json.dumps({**more, **report.as_json()}, indent=1, default=str) + "\n")
    except OSError as error:
        raise UserError(f"report '{path}': cannot write there ({error.strerror}); choose another folder") from error
