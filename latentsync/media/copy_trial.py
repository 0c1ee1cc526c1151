"""Whether a container takes a file's sound as it is: tried, not guessed by the codec's name."""

import io
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from latentsync.errors import UserError
from latentsync.media.audio import survey_sound
from latentsync.media.audio_copy import CopiedTrack
from latentsync.media.audio_streams import Track, choose_audio_stream
from latentsync.media.containers import open_media
from latentsync.media.sound_reader import SoundReader

_PCM = frozenset({"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"})
# What players of each container know; FFmpeg would write more, which most of them cannot play.
_PLAYED = {
    "mp4": frozenset({"aac", "mp3", "alac", "ac3", "eac3", "flac", "opus"}),
    "mov": frozenset({"aac", "mp3", "alac", "ac3", "eac3", "pcm_s16be", "pcm_s24be"}) | _PCM,
    "matroska": frozenset({"aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "flac", "opus", "vorbis", "alac"})
    | _PCM,
}
_TRIAL_SECONDS = 3.0
_TRIAL_RATE = 16000
_SAME_TIME_SECONDS = 5e-3


def why_not_copied(path: str | Path, container: str, track: Track = None, seamless: bool | None = None) -> str | None:
    """Why a file's sound cannot stand in `container` ("mp4", "mov", "matroska") as it is; None: it can.

    It is tried: the first seconds are stored and read back, and must sound at the same time as in the file. seamless:
    see `SoundSurvey`; None: found out here. Raises UserError for a file that cannot be read or has no such track.
    """
    with open_media(path, "audio") as source:
        stream = choose_audio_stream(source, path, track)
        codec = stream.codec_context.codec.canonical_name
        if codec not in _PLAYED[container]:
            return f"players of {container} do not know {codec}"
    if seamless is None:
        seamless = survey_sound(path, _TRIAL_RATE, track).seamless
    if not seamless:
        return "it has gaps or cuts, which players treat differently"
    return _tried(path, container, track)


def _tried(path: str | Path, container: str, track: Track) -> str | None:
    """What goes wrong when the first seconds are stored and read back; None: nothing."""
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=container) as target:
            picture = target.add_stream("mpeg4", rate=25)  # for its time zero
            picture.width = picture.height = 16
            with closing(CopiedTrack(target, path, track)) as copied:
                frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
                frame.pts, frame.time_base = 0, Fraction(1, 25)
                target.mux([*picture.encode(frame), *picture.encode(None)])
                copied.finish(_TRIAL_SECONDS)
    except (av.error.FFmpegError, ValueError) as error:
        return f"{container} does not take it ({getattr(error, 'strerror', None) or error})"
    ours, theirs = _beginning(file.getvalue()), _beginning(path, track)
    if ours is None:
        return f"{container} takes it, but it cannot be decoded from there"
    return None if _at_the_same_time(ours, theirs) else f"in {container} it would sound at another time"


def _beginning(source: str | Path | bytes, track: Track = None) -> np.ndarray | None:
    """The first seconds of mono sound, (N,) from time zero on; None where it cannot be decoded."""
    parts, count = [np.zeros(0, np.float32)], 0
    try:
        with open_media(source, "audio") as container:
            stream = choose_audio_stream(container, "trial", track)
            for chunk in SoundReader(container, stream, source, "audio", _TRIAL_RATE, "mono"):
                parts.append(chunk[0])
                count += chunk.shape[1]
                if count >= _TRIAL_SECONDS * _TRIAL_RATE:
                    break
    except UserError:
        return None
    return np.concatenate(parts)[: round(_TRIAL_SECONDS * _TRIAL_RATE)]


def _at_the_same_time(ours: np.ndarray, theirs: np.ndarray | None) -> bool:
    """Whether two beginnings fit best where neither is moved, or hardly; silence fits anywhere."""
    if theirs is None:
        return True  # it plays no worse from there than from the file itself
    size = min(len(ours), len(theirs))
    if not size or np.abs(theirs[:size]).max() < 1e-3:
        return abs(len(ours) - len(theirs)) <= 0.1 * _TRIAL_RATE
    spectra = [np.fft.rfft(part[:size], 2 * size) for part in (ours, theirs)]
    fit = np.fft.irfft(spectra[0] * spectra[1].conj())
    reach = round(_SAME_TIME_SECONDS * _TRIAL_RATE)
    best = int(np.argmax(fit))
    return min(best, 2 * size - best) <= reach
