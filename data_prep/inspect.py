"""What is in a folder of shards: `python -m data_prep.inspect SHARDS`; `verify=true` opens every clip."""

import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from configs.compose import command, name_first_argument
from latentsync.data.sample import ARRAY_MEMBERS, BadSample, ClipSample
from latentsync.data.shards import ShardSet
from latentsync.errors import UserError
from latentsync.media.audio import decode_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.media.stills import write_picture
from latentsync.work.progress import ProgressBar
from latentsync.work.runner import Alive, Runner, run_all

_LABEL_HEIGHT = 14


@dataclass
class Contents:
    """What the metadata of all clips say. values: offset and confidence where clips have them; arrays: stored
    features, member -> clips that have it; set_aside: reason -> clips that no loader would take."""

    num_shards: int
    num_bytes: int
    set_aside: dict[str, int]
    sources: set[str] = field(default_factory=set)
    seconds: float = 0.0
    num_frames: list[int] = field(default_factory=list)
    resolutions: Counter[int] = field(default_factory=Counter)
    fps: Counter[float] = field(default_factory=Counter)
    arrays: Counter[str] = field(default_factory=Counter)
    values: dict[str, list[float]] = field(default_factory=lambda: {"offset": [], "confidence": []})

    def add(self, metadata: dict[str, Any], members: set[str]) -> None:
        """Count one clip."""
        self.sources.add(metadata["source"])
        self.num_frames.append(metadata["num_frames"])
        self.seconds += metadata["num_frames"] / metadata["fps"]
        self.resolutions[metadata["resolution"]] += 1
        self.fps[float(metadata["fps"])] += 1
        self.arrays.update(name for name in ARRAY_MEMBERS.values() if name in members)
        for name, values in self.values.items():
            if isinstance(metadata.get(name), (int, float)):
                values.append(float(metadata[name]))

    def lines(self) -> list[str]:
        """The statistics, for people."""
        clips = len(self.num_frames)
        found = {
            "shards": f"{self.num_shards}, {self.num_bytes / 1e6:,.1f} MB",
            "clips": f"{clips}, {self.seconds / 3600:.2f} hours, from {len(self.sources)} sources",
            "set aside": "; ".join(f"{count} × {reason}" for reason, count in sorted(self.set_aside.items())),
            "resolution": _counts(self.resolutions),
            "fps": _counts(self.fps),
            "frames": _spread(self.num_frames),
            "features": ", ".join(f"{name} in {count}" for name, count in sorted(self.arrays.items())),
            "offset": self._offsets(),
            "confidence": _spread(self.values["confidence"]),
        }
        return [f"{name:<11} {text}" for name, text in found.items() if text]

    def _offsets(self) -> str:
        offsets = self.values["offset"]
        if not offsets:
            return ""
        share = np.mean(np.abs(offsets) <= 1)
        return f"{_spread(offsets)} frames; {share:.0%} of {len(offsets)} within ± 1"


def contents(shards: ShardSet) -> Contents:
    """Read the metadata of every clip; pixels and sound are passed over."""
    size = sum(shard.bytes for shard in shards.shards)
    found = Contents(len(shards.shards), size, dict(shards.set_aside))
    with ProgressBar("clips") as bar:
        for index in range(len(shards)):
            found.add(*shards.read_metadata(index))
            bar(index + 1, len(shards))
    return found


class OpenClip:
    """`work` of a runner: decode a clip by its number; returns what is wrong with it, or None."""

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards

    def __call__(self, index: int, alive: Alive) -> str | None:
        try:
            return check(self._shards.read(index))
        except BadSample as error:
            return str(error)


def check(sample: ClipSample) -> str | None:
    """Decode all frames and the sound of a clip; the first thing that contradicts its metadata, or None."""
    said = sample.metadata
    try:
        reader = ClipReader(sample.video)
        if len(reader) != said["num_frames"]:
            return f"{len(reader)} frames, metadata says {said['num_frames']}"
        shape = reader.read(range(len(reader))).shape
    except ValueError as error:
        return str(error)
    if shape[1:3] != (said["resolution"], said["resolution"]):
        return f"pictures of {shape[2]} × {shape[1]}, metadata says {said['resolution']}"
    try:
        wave, rate = decode_audio(sample.audio)
    except UserError as error:
        return str(error)
    missing = said["num_frames"] / said["fps"] - len(wave) / rate
    if abs(missing) > 1.5 / said["fps"]:
        return f"sound {abs(missing):.2f} s {'shorter' if missing > 0 else 'longer'} than the pictures"
    return None


def verify(shards: ShardSet, runner: Runner) -> dict[str, str]:
    """Open every clip; key -> what is wrong, only of bad ones."""
    bad: dict[str, str] = {}
    for outcome in run_all(runner, OpenClip(shards), range(len(shards)), "clips opened"):
        wrong = outcome.failure or outcome.result
        if wrong is not None:
            bad[shards.key(outcome.item)] = wrong
    return dict(sorted(bad.items()))


def contact_sheet(shards: ShardSet, count: int, columns: int, width: int) -> np.ndarray | None:
    """The middle frames of `count` clips at even distances, (H, W, 3) uint8 RGB, `columns` a row, the clip's key below
    each; clips that cannot be decoded are left out, None when that leaves none."""
    chosen = np.unique(np.linspace(0, len(shards) - 1, count).round().astype(int))
    cells = []
    for index in chosen:
        try:
            sample = shards.read(int(index))
            reader = ClipReader(sample.video)
            frame = reader.read([len(reader) // 2])[0]
        except (BadSample, ValueError):
            continue
        cells.append(np.concatenate([cv2.resize(frame, (width, width)), _label(sample.key, width)]))
    if not cells:
        return None
    columns = min(columns, len(cells))
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % columns)
    rows = [np.concatenate(cells[first : first + columns], axis=1) for first in range(0, len(cells), columns)]
    return np.concatenate(rows, axis=0)


def _label(text: str, width: int) -> np.ndarray:
    """The end of a key, which tells clips of one source apart, on a white strip."""
    strip = np.full((_LABEL_HEIGHT, width, 3), 255, np.uint8)
    shown = text[-(width // 6) :]
    return np.asarray(cv2.putText(strip, shown, (2, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (0, 0, 0), 1, cv2.LINE_AA))


def _counts(counter: Counter) -> str:
    return ", ".join(f"{value:g} in {count}" for value, count in sorted(counter.items()))


def _spread(values: list) -> str:
    if not values:
        return ""
    least, middle, greatest = np.quantile(values, [0, 0.5, 1])
    return f"{least:g} to {greatest:g}, median {middle:g}"


def run(config: DictConfig) -> int:
    """`python -m data_prep.inspect SHARDS`; returns the exit code: 1 when `verify` finds a bad clip."""
    for name in ("sheet_clips", "sheet_columns", "sheet_width"):
        if not isinstance(config[name], int) or not 1 <= config[name] <= 2000:
            raise UserError(f"{name}={config[name]}: give 1 to 2000")
    sheet = None if config.contact_sheet is None else Path(config.contact_sheet)
    if sheet is not None and not sheet.parent.is_dir():
        raise UserError(f"contact_sheet '{sheet}': folder '{sheet.parent}' does not exist; create it first")
    if sheet is not None and sheet.suffix.lower() != ".png":
        raise UserError(f"contact_sheet '{sheet}': give a .png")
    shards = ShardSet(config.shards, max_bad_share=1.0)
    print("\n".join(contents(shards).lines()), flush=True)
    if sheet is not None:
        image = contact_sheet(shards, config.sheet_clips, config.sheet_columns, config.sheet_width)
        if image is not None:
            write_picture(sheet, image)
        print(f"contact sheet: {sheet}" if image is not None else "contact sheet: none, no clip can be decoded")
    if not config.verify:
        return 0
    bad = verify(shards, instantiate(config.runner))
    for key, wrong in bad.items():
        print(f"bad clip '{key}': {wrong}")
    print(f"verified: {len(shards) - len(bad)} of {len(shards)} clips are good")
    return 1 if bad or shards.set_aside else 0


if __name__ == "__main__":
    sys.argv[1:] = name_first_argument("shards", sys.argv[1:])
    command("data_prep/inspect", lambda config: sys.exit(run(config)))
