"""Sound files to arrays and back."""

import io
import wave as wave_format
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentsync.errors import UserError
from latentsync.media.audio_streams import Track, choose_audio_stream
from latentsync.media.containers import open_media
from latentsync.media.sound_reader import SoundReader

SHORTEST_SECONDS = 0.2  # less holds no syllable, and not one window of the sync model


def load_audio(path: str | Path, sample_rate: int = 16000, track: Track = None) -> np.ndarray:
    """The sound of any file with an audio stream: float32 (N,), mono, in [-1, 1], at `sample_rate` Hz.

    Time 0 is the file's first picture where it has pictures, and each moment stands at its time stamp, with silence in
    the gaps (see `sound_reader`). track: a number from 0 or a language tag, None: the default track.
    Raises UserError for a missing or unreadable file, one without an audio stream, or less than 0.2 s of sound.
    """
    chunks = list(decoded_chunks(path, sample_rate, "mono", track))
    sound = np.concatenate(chunks, axis=1)[0] if chunks else np.zeros(0, np.float32)
    check_length(path, len(sound), sample_rate)
    return sound.clip(-1, 1).astype(np.float32, copy=False)


@dataclass(frozen=True)
class SoundSurvey:
    """num_samples: of a file's sound at the rate asked for. seamless: it has no gaps, overlaps or cuts, so that its
    packets are a true copy of it in any player."""

    num_samples: int
    seamless: bool


def survey_sound(path: str | Path, rate: int = 16000, track: Track = None) -> SoundSurvey:
    """Decode a file's sound once, keeping nothing. Raises UserError as `load_audio` does, except for the length."""
    with open_media(path, "audio") as container:
        stream = choose_audio_stream(container, path, track)
        reader = SoundReader(container, stream, path, f"audio '{path}'", rate, "mono")
        count = sum(chunk.shape[1] for chunk in reader)
    return SoundSurvey(count, reader.seams == 0)


def decode_audio(data: bytes) -> tuple[np.ndarray, int]:
    """The bytes of a sound file to (float32 (N,) mono in [-1, 1], its own rate in Hz). Raises UserError."""
    with open_media(data, "audio") as container:
        stream = choose_audio_stream(container, "bytes")
        rate = stream.rate
        chunks = list(SoundReader(container, stream, data, "audio 'bytes'", rate, "mono"))
    sound = np.concatenate(chunks, axis=1)[0] if chunks else np.zeros(0, np.float32)
    return sound.clip(-1, 1).astype(np.float32, copy=False), rate


def encode_wav(wave: np.ndarray, rate: int) -> bytes:
    """wave (N,) float in [-1, 1] as the bytes of a 16-bit mono WAV; `decode_audio` gives it back to 1/65536."""
    if wave.ndim != 1:
        raise ValueError(f"wave must be (N,) mono, not {wave.shape}")
    samples = np.clip(np.rint(np.asarray(wave, dtype=np.float64) * 32768), -32768, 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave_format.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def decoded_chunks(path: str | Path, rate: int, layout: str, track: Track = None) -> Iterator[np.ndarray]:
    """Float32 chunks (channels, n) of a file's sound, as `sound_reader` lays it out; track: see `audio_streams`.

    Raises UserError as `load_audio` does, except for the length.
    """
    with open_media(path, "audio") as container:
        stream = choose_audio_stream(container, path, track)
        yield from SoundReader(container, stream, path, f"audio '{path}'", rate, layout)


def check_length(path: str | Path, count: int, rate: int) -> None:
    """Raise UserError for less than 0.2 s of sound. count: samples; rate: in Hz."""
    if count < SHORTEST_SECONDS * rate:
        raise UserError(
            f"audio '{path}': {count / rate:.2f} s of sound is too short; give at least {SHORTEST_SECONDS} s"
        )
