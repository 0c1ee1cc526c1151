"""Checks of the clips: is there sound, do the lips move with it, at the same time, and in the lower half?

What moves with the sound is found without any network: the brightness of each cell of a 16 × 16 grid is correlated
over the clip with the loudness, at every offset between the two. Where and when r² is large, there and then is the
mouth.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

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
CHANCE = (2 * 1 + 1) / (2 * MAX_OFFSET + 1)  # share of the clips within ± 1 of any offset if there were none


@dataclass(frozen=True)
class ClipCoupling:
    """r_squared: (2 · MAX_OFFSET + 1, GRID, GRID), of brightness at frame t + offset with loudness at frame t.

    offset: where the most coupled cells agree best, frames; positive: the lips come after their sound.
    silent: share of the clip's frames below SILENCE_DB.
    """

    r_squared: np.ndarray
    offset: int
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
            found.append(coupling(brightness(sample), loudness(sample)))
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


def coupling(cells: np.ndarray, level: np.ndarray) -> ClipCoupling:
    """Correlate cells (N, GRID, GRID) with the level (N,) at every offset."""
    offsets = range(-MAX_OFFSET, MAX_OFFSET + 1)
    audible = np.maximum(level, SILENCE_DB)  # what lies below is noise, however it varies
    r_squared = np.stack([_r_squared(cells, audible, offset) for offset in offsets])
    strongest = np.sort(r_squared.reshape(len(offsets), -1), axis=1)[:, -MOUTH_CELLS:].mean(1)
    return ClipCoupling(r_squared, int(strongest.argmax()) - MAX_OFFSET, float((level < SILENCE_DB).mean()))


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
    silent = sum(clip.silent > 0.95 for clip in clips)
    values = {"silent_frames": share, "silent_clips": silent, "clips": len(clips)}
    figures = f"{silent} of {len(clips)} clips are silent, {100 * share:.0f} % of all frames (below {SILENCE_DB:g} dB)"
    if silent > 0.5 * len(clips) or share > 0.7:
        return Finding("silence", "bad", f"{figures}: check how the audio was extracted", values)
    if silent > 0.1 * len(clips) or share > 0.5:
        return Finding("silence", "suspicious", f"{figures}: leave silent clips out of the shards", values)
    return Finding("silence", "ok", figures, values)


def check_offset(clips: list[ClipCoupling]) -> Finding:
    """Sound and lips of training clips have to agree to a frame, or positives are negatives."""
    heard = [clip.offset for clip in clips if clip.silent <= 0.95]
    if not heard:
        return Finding("offset", "bad", "no clip has sound")
    counts = Counter(heard)
    near = {offset: sum(counts[offset + step] for step in (-1, 0, 1)) for offset in range(-MAX_OFFSET, MAX_OFFSET + 1)}
    mode = max(near, key=lambda offset: (near[offset], counts[offset], -abs(offset)))
    share = near[mode] / len(heard)
    values = {"offset_frames": mode, "share_within_1": share, "histogram": dict(sorted(counts.items()))}
    figures = f"{100 * share:.0f} % of {len(heard)} clips within ± 1 frame of offset {mode:+d}"
    if share < 0.3:
        text = f"{figures} (chance: {100 * CHANCE:.0f} %): no offset stands out; do picture and sound belong together?"
        return Finding("offset", "suspicious", text, values)
    if abs(mode) > 1:
        side = "after" if mode > 0 else "before"
        text = f"{figures}: the lips move {abs(mode)} frames {side} their sound; let data_prep.prepare correct it"
        return Finding("offset", "bad", text, values)
    if share < 0.6:
        return Finding("offset", "suspicious", f"{figures}: many clips differ; sort them out by their offset", values)
    return Finding("offset", "ok", figures, values)


def coupling_map(clips: list[ClipCoupling]) -> np.ndarray:
    """(GRID, GRID): r² at each clip's own offset, averaged over the clips, above what the picture has anywhere."""
    average = np.mean([clip.r_squared[clip.offset + MAX_OFFSET] for clip in clips], axis=0)
    return np.clip(average - np.median(average), 0, None)


def check_mouth(clips: list[ClipCoupling]) -> Finding:
    """SyncNet looks at the lower half of the face only."""
    found = coupling_map(clips)
    share = float(found[GRID // 2 :].sum() / max(found.sum(), 1e-9))
    values = {"lower_share": share, "largest_r_squared": float(found.max())}
    figures = f"{100 * share:.0f} % of what moves with the sound lies in the lower half"
    if found.max() < 0.02:
        return Finding("mouth", "suspicious", "nothing in the picture moves with the sound: frozen lips?", values)
    if share < 0.4:
        return Finding("mouth", "bad", f"{figures}: are the faces upside down or cropped wrongly?", values)
    if share < 0.65:
        return Finding("mouth", "suspicious", f"{figures}: look at the alignment of the faces", values)
    return Finding("mouth", "ok", figures, values)
