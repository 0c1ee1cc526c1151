"""Checks of the clips: is there sound, do the lips move with it, at the same time, and in the lower half?

What moves with the sound is found without any network: the brightness of each cell of a 16 × 16 grid is correlated
over the clip with the loudness, both without their slow changes, at every offset between the two. Where and when r²
is large, there and then is the mouth. In real speech one clip seldom says so by itself; a dozen together do.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import uniform_filter1d

from latentsync.data.sample import BadSample, ClipSample
from latentsync.data.shards import ShardSet
from latentsync.errors import UserError
from latentsync.media.audio import decode_audio
from latentsync.media.clip_reader import ClipReader
from latentsync.training.doctor.finding import Finding

GRID = 16
MAX_OFFSET = 15  # frames
SILENCE_DB = -45.0  # of full scale, RMS of a frame
MOUTH_CELLS = 8  # of the grid, those that a clip's offset is read from
SILENT = 0.95  # share of silent frames that makes a clip silent
TREND = 7  # frames; what changes more slowly (a head that turns, a sentence that begins) is not speech
NEAR = 3  # frames; the peak of real speech is that wide
# Largest r² against the largest at offsets that are not near it. GRID's speaker s1: 1.8 over 20 clips, 1.4 to 1.6 over
# 12; with other clips' sound 1.2 at most over 20, 1.36 over 12.
STANDS_OUT, SURE = 1.4, 2.0
LEAST = 0.02  # r² under which nothing moves
NAMED = 3


@dataclass(frozen=True)
class Peak:
    """offset: frames, where r² is largest; r_squared: there, of the MOUTH_CELLS best cells; elsewhere: the largest at
    offsets not near it, which is what chance gives."""

    offset: int
    r_squared: float
    elsewhere: float

    @classmethod
    def of(cls, r_squared: np.ndarray) -> "Peak":
        """Of (2 · MAX_OFFSET + 1, GRID, GRID)."""
        best = np.sort(r_squared.reshape(len(r_squared), -1), axis=1)[:, -MOUTH_CELLS:].mean(1)
        at = int(best.argmax())
        far = np.abs(np.arange(len(best)) - at) > NEAR
        return cls(at - MAX_OFFSET, float(best[at]), float(best[far].max()))

    @property
    def needed(self) -> float:
        return STANDS_OUT * self.elsewhere

    @property
    def contrast(self) -> float:
        return self.r_squared / max(self.elsewhere, 1e-9)


@dataclass(frozen=True)
class ClipCoupling:
    """r_squared: (2 · MAX_OFFSET + 1, GRID, GRID), of brightness at frame t + offset with loudness at frame t; an
    offset above 0: the lips come after their sound. silent: share of the clip's frames below SILENCE_DB."""

    key: str
    r_squared: np.ndarray
    silent: float


def sampled(shards: ShardSet, count: int) -> Iterator[ClipSample]:
    """`count` clips spread evenly over the shards; clips that cannot be read are passed over."""
    for index in np.unique(np.linspace(0, len(shards) - 1, min(count, len(shards))).astype(int)):
        try:
            yield shards.read(int(index))
        except BadSample:
            continue


def measure(samples: Iterable[ClipSample]) -> list[ClipCoupling]:
    """The clips measured; clips that cannot be decoded are passed over. Raises UserError if none is left."""
    found = []
    for sample in samples:
        try:
            found.append(coupling(sample.key, brightness(sample), loudness(sample)))
        except (BadSample, ValueError, IndexError, UserError):
            continue  # the loader sets such clips aside and counts them
    if not found:
        raise UserError("doctor=true: none of the clips looked at can be decoded")
    return found


def brightness(sample: ClipSample) -> np.ndarray:
    """(N, GRID, GRID) float32 in [0, 255]: grey level of the cells of each frame."""
    frames = ClipReader(sample.video).read(range(sample.metadata["num_frames"]))
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    cells = [cv2.resize(frame, (GRID, GRID), interpolation=cv2.INTER_AREA) for frame in grey]
    return np.stack(cells).astype(np.float32)


def loudness(sample: ClipSample) -> np.ndarray:
    """(N,) float32, decibels of full scale: RMS of the sound during each frame."""
    wave, rate = decode_audio(sample.audio)
    count = sample.metadata["num_frames"]
    samples = round(rate / sample.metadata["fps"])
    padded = np.zeros(count * samples, np.float32)
    padded[: min(len(wave), len(padded))] = wave[: len(padded)]
    power = np.square(padded.reshape(count, samples)).mean(1)
    return 10 * np.log10(np.maximum(power, 1e-10)).astype(np.float32)


def coupling(key: str, cells: np.ndarray, level: np.ndarray) -> ClipCoupling:
    """Correlate cells (N, GRID, GRID) with the level (N,) at every offset."""
    audible = without_trend(np.maximum(level, SILENCE_DB))  # what lies below is noise, however it varies
    changes = without_trend(cells)
    r_squared = np.stack([_r_squared(changes, audible, offset) for offset in range(-MAX_OFFSET, MAX_OFFSET + 1)])
    return ClipCoupling(key, r_squared, float((level < SILENCE_DB).mean()))


def without_trend(values: np.ndarray) -> np.ndarray:
    """Values (N, …) less their mean over TREND frames around."""
    return values - uniform_filter1d(values, TREND, axis=0, mode="nearest")


def _r_squared(cells: np.ndarray, level: np.ndarray, offset: int) -> np.ndarray:
    count = len(level)
    x = cells[max(0, offset) : count + min(0, offset)].reshape(-1, GRID * GRID)
    y = level[max(0, -offset) : count + min(0, -offset)]
    if len(y) < 4:
        return np.zeros((GRID, GRID))
    x, y = x - x.mean(0), y - y.mean()
    # A cell that hardly changes has no say: its rounding to whole grey levels would pass for motion.
    noise = 0.02 * len(y)
    return ((x.T @ y) ** 2 / ((np.square(x).sum(0) + noise) * (np.square(y).sum() + noise))).reshape(GRID, GRID)


def check_silence(clips: list[ClipCoupling]) -> Finding:
    """A silent window cannot be told from any other: its loss is 0.69 for ever."""
    share = float(np.mean([clip.silent for clip in clips]))
    silent = [clip.key for clip in clips if clip.silent > SILENT]
    values = {"silent_frames": share, "silent_clips": silent, "clips": len(clips)}
    figures = f"{len(silent)} of {len(clips)} clips are silent, {100 * share:.0f} % of all frames ({SILENCE_DB:g} dB)"
    if len(silent) > 0.5 * len(clips) or share > 0.7:
        return Finding("silence", "bad", f"{figures}: check how the audio was extracted{named(silent)}", values)
    if len(silent) > 0.1 * len(clips) or share > 0.5:
        return Finding(
            "silence", "suspicious", f"{figures}: leave silent clips out of the shards{named(silent)}", values
        )
    return Finding("silence", "ok", figures, values)


def check_offset(clips: list[ClipCoupling]) -> Finding:
    """Sound and lips of training clips have to agree to a frame, or positives are negatives."""
    heard = [clip for clip in clips if clip.silent <= SILENT]
    if not heard:
        return Finding("offset", "bad", "no clip has sound")
    peak = pooled(heard)
    # One clip says little by itself; one that says much, and says something else than all together, is named.
    own = {clip.key: Peak.of(clip.r_squared) for clip in heard}
    others = [key for key, one in own.items() if one.contrast >= SURE and abs(one.offset - peak.offset) > NEAR]
    values = {
        "offset_frames": peak.offset,
        "r_squared": peak.r_squared,
        "r_squared_needed": peak.needed,
        "clips_with_another_offset": others,
    }
    figures = f"r² {peak.r_squared:.2g} at offset {peak.offset:+d} over {len(heard)} clips, {peak.needed:.2g} needed"
    if len(others) > 0.3 * len(heard):
        text = f"{figures}: many clips differ; sort them out by their offset{named(others)}"
        return Finding("offset", "suspicious", text, values)
    if peak.r_squared < peak.needed:
        text = f"{figures}: look at more clips; if it stays so, do picture and sound belong together?"
        return Finding("offset", "too weak", text, values)
    if abs(peak.offset) > 1:
        side = "after" if peak.offset > 0 else "before"
        text = (
            f"{figures}: the lips move {abs(peak.offset)} frames {side} their sound; let data_prep.prepare correct it"
        )
        return Finding("offset", "bad", text, values)
    return Finding("offset", "ok", f"{figures}{named(others)}", values)


def pooled(clips: list[ClipCoupling]) -> Peak:
    """Where the clips together say that the lips follow their sound."""
    return Peak.of(np.mean([clip.r_squared for clip in clips], axis=0))


def coupling_map(clips: list[ClipCoupling]) -> np.ndarray:
    """(GRID, GRID): r² averaged over the clips at their common offset, above what the picture has anywhere."""
    average = np.mean([clip.r_squared[pooled(clips).offset + MAX_OFFSET] for clip in clips], axis=0)
    return np.clip(average - np.median(average), 0, None)


def check_mouth(clips: list[ClipCoupling]) -> Finding:
    """SyncNet looks at the lower half of the face only."""
    found, peak = coupling_map(clips), pooled(clips)
    share = float(found[GRID // 2 :].sum() / max(found.sum(), 1e-9))
    values = {"lower_share": share, "r_squared": peak.r_squared, "r_squared_needed": peak.needed}
    if peak.r_squared < max(peak.needed, LEAST):
        figures = f"r² {peak.r_squared:.2g}, {max(peak.needed, LEAST):.2g} needed"
        return Finding(
            "mouth", "too weak", f"{figures}: does anything move with the sound, or are the lips frozen?", values
        )
    figures = f"{100 * share:.0f} % of what moves with the sound lies in the lower half"
    if share < 0.4:
        return Finding("mouth", "bad", f"{figures}: are the faces upside down or cropped wrongly?", values)
    if share < 0.65:
        return Finding("mouth", "suspicious", f"{figures}: look at the alignment of the faces", values)
    return Finding("mouth", "ok", figures, values)


def named(keys: list[str]) -> str:
    """The first of the clips, for a message; all of them are in doctor.json."""
    return f" ({', '.join(keys[:NAMED])}{', …' if len(keys) > NAMED else ''})" if keys else ""
