"""What came out of a job, and what became of each frame."""

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from latentsync.inference.plan import FPS


class Fate(str, Enum):
    """What became of an output frame."""

    GENERATED = "generated"
    NO_FACE = "no face"  # passed through unchanged


@dataclass(frozen=True)
class LipSyncReport:
    """The result of one job.

    output: the video written. num_frames: at 25 a second. num_windows: how many windows went through the network. seed:
    give it to get the same frames again. fates: one for each frame.
    """

    output: Path
    num_frames: int
    num_windows: int
    seed: int
    fates: tuple[Fate, ...]

    @property
    def seconds(self) -> float:
        """Duration of the pictures."""
        return self.num_frames / FPS

    def count(self, fate: Fate) -> int:
        """How many frames met it."""
        return Counter(self.fates)[fate]

    def __str__(self) -> str:
        passed = self.count(Fate.NO_FACE)
        unchanged = f", {passed} without a face left as they are" if passed else ""
        return f"{self.output}: {self.num_frames} frames, {self.seconds:.2f} s{unchanged}, seed {self.seed}"
