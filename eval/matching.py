"""Which reference a video belongs to, by name; and whether it is a reconstruction of it, by the sound."""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.sources import find_sources
from eval.scoring import Task
from latentsync.errors import UserError
from latentsync.media.audio import load_audio
from latentsync.media.probe import probe_video
from latentsync.media.rates import SAMPLE_RATE

LIKE = 0.75
"""Correlation from which two recordings are one: encoded anew, down to 12 kbit/s or 8 kHz, speech keeps 0.95; the same
speaker's other sentences reach 0.6."""
_VOICE = (150, 2000)  # Hz: what every codec keeps, without hum
_FARTHEST = 0.2  # seconds that an encoder may move a sound by
_LONGEST = 60  # seconds that are looked at
_SILENT = 1e-9  # energy of a sample


class NothingPaired(UserError):
    """No video has a reference."""


def match(videos: Path, reference: Path | None) -> tuple[list[Task], list[Task], dict[str, list[str]]]:
    """(videos to score, true videos to score, names without a partner), by path without suffix; names that look alike
    are alike, however their accents are encoded. Raises NothingPaired where nothing is left."""
    given = _named(videos)
    if reference is None:
        return [Task("generated", name, path, None) for name, path in given.items()], [], {}
    true = _named(reference)
    both = [name for name in given if name in true]
    if not both:
        raise NothingPaired(
            f"videos '{videos}' and reference '{reference}' have no name in common ('{next(iter(given))}', "
            f"'{next(iter(true))}', …); call what belongs together by one name"
        )
    tasks = [Task("generated", name, given[name], true[name]) for name in both]
    truths = [Task("truth", name, true[name], None) for name in both]
    unmatched = {"videos": sorted(set(given) - set(true)), "reference": sorted(set(true) - set(given))}
    return tasks, truths, {side: names for side, names in unmatched.items() if names}


def _named(folder: Path) -> dict[str, Path]:
    """Path without suffix, in Unicode's composed form -> video. Raises UserError where two have one name."""
    found: dict[str, Path] = {}
    for source in find_sources(folder):
        name = unicodedata.normalize("NFC", str(Path(source.name).with_suffix("")))
        if name in found:
            raise UserError(f"'{found[name]}' and '{source.path}' have one name; rename one of them")
        found[name] = source.path
    return found


def clip_mark(reference: Path | None) -> str:
    """What tells clips of one name apart: of shards their sound, which is copied from there, else the whole file."""
    if reference is None:
        return ""
    sound = reference.with_suffix(".wav")
    with (sound if sound.is_file() else reference).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def checked(protocol: Mapping[str, Any], tasks: list[Task], other_sound: str) -> tuple[Mapping[str, Any], list[str]]:
    """(protocol, warnings) once the sound of reconstructions is compared with their references'. Where some differ:
    other_sound="stop" raises UserError, "cross" makes it the cross protocol."""
    wrong = other_sounds(tasks) if protocol["protocol"] == "reconstruction" else {}
    if not wrong:
        return protocol, []
    name, reason = next(iter(wrong.items()))
    said = f"the sound of {len(wrong)} of {len(tasks)} videos is not their reference's ('{name}': {reason})"
    if other_sound == "stop":
        raise UserError(f"protocol=reconstruction: {said}; give protocol=cross, or the right references")
    return {**protocol, "protocol": "cross"}, [f"scored as cross: {said}"]


def sound_likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The greatest |normalised cross-correlation| within ± 0.2 s of two waves (N,), 16 kHz, as far as the shorter goes.

    Two silences are alike (1), silence and sound are not (0).
    """
    import scipy.signal  # takes a second to import

    length = min(len(one), len(other), _LONGEST * SAMPLE_RATE)
    if length == 0:
        return float(len(one) == len(other))
    waves = [wave[:length].astype(np.float64) for wave in (one, other)]
    band = scipy.signal.butter(4, _VOICE, "band", fs=SAMPLE_RATE, output="sos")
    first, second = (scipy.signal.sosfilt(band, wave) for wave in waves)
    energies = [float(wave @ wave) for wave in (first, second)]
    if min(energies) < _SILENT * length:
        return float(max(energies) < _SILENT * length)
    correlation = scipy.signal.correlate(first, second, "full", "fft")
    middle, reach = len(second) - 1, round(_FARTHEST * SAMPLE_RATE)
    near = correlation[max(0, middle - reach) : middle + reach + 1]
    return float(np.abs(near).max() / np.sqrt(energies[0] * energies[1]))


def other_sounds(tasks: Sequence[Task]) -> dict[str, str]:
    """Name -> what is wrong, of the videos whose sound is not their reference's; what cannot be read is passed over, it
    gets its own reason when it is scored."""
    found: dict[str, str] = {}
    for task in tasks:
        if task.reference is None:
            continue
        try:
            heard = [probe_video(path).has_audio for path in (task.video, task.reference)]
            if not all(heard):
                if heard[0] or heard[1]:
                    found[task.name] = f"only {'it' if heard[0] else 'its reference'} has sound"
                continue
            likeness = sound_likeness(load_audio(task.video), load_audio(task.reference))
        except UserError:
            continue
        if likeness < LIKE:
            found[task.name] = f"correlation {likeness:.2f}, of one sound it is above {LIKE}"
    return found
