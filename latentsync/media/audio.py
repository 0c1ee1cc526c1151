"""Sound files to arrays and back."""

import io
import logging
import wave as wave_format
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer

from latentsync.errors import UserError
from latentsync.media.containers import find_video_stream, first_audio_stream, open_media

SHORTEST_SECONDS = 0.2  # less holds no syllable, and not one window of the sync model

_log = logging.getLogger(__name__)


def load_audio(path: str | Path, sample_rate: int = 16000) -> np.ndarray:
    """The sound of any file with an audio stream: float32 (N,), mono, in [-1, 1], at `sample_rate` Hz.

    Time 0 is the start of the file's video stream where it has one, so that sound and pictures stay together.
    Raises UserError for a missing or unreadable file, one without an audio stream, or less than 0.2 s of sound.
    """
    chunks = list(decoded_chunks(path, rate=sample_rate, layout="mono"))
    sound = np.concatenate(chunks, axis=1)[0] if chunks else np.zeros(0, np.float32)
    if len(sound) < SHORTEST_SECONDS * sample_rate:
        raise UserError(
            f"audio '{path}': {len(sound) / sample_rate:.2f} s of sound is too short; "
            f"give at least {SHORTEST_SECONDS} s"
        )
    return sound.clip(-1, 1).astype(np.float32, copy=False)


def decode_audio(data: bytes) -> tuple[np.ndarray, int]:
    """The bytes of a sound file to (float32 (N,) mono in [-1, 1], its own rate in Hz). Raises UserError."""
    with open_media(data, "audio") as container:
        rate = first_audio_stream(container, "bytes").rate
        chunks = list(_resampled(container, "bytes", rate, "mono"))
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


def decoded_chunks(path: str | Path, rate: int, layout: str) -> Iterator[np.ndarray]:
    """Float32 chunks (channels, n) of a file's first audio stream, aligned to its video stream's start.

    Raises UserError as `load_audio` does, except for the length.
    """
    with open_media(path, "audio") as container:
        first_audio_stream(container, path)
        offset = lead_seconds(container)
        skip = max(0, round(-offset * rate))
        if offset > 0:
            yield np.zeros((len(av.AudioLayout(layout).channels), round(offset * rate)), np.float32)
        for chunk in _resampled(container, path, rate, layout):
            if skip >= chunk.shape[1]:
                skip -= chunk.shape[1]
                continue
            yield chunk[:, skip:]
            skip = 0


def _as_float(frame: AudioFrame) -> np.ndarray:
    """(channels, n) int32 to float32 in [-1, 1]."""
    return (frame.to_ndarray() / 2.0**31).astype(np.float32)


def lead_seconds(container: InputContainer) -> float:
    """How much later than the pictures the sound begins, in seconds (negative: earlier; 0 without pictures)."""
    audio, video = container.streams.audio[0], find_video_stream(container)
    if video is None or video.start_time is None or audio.start_time is None:
        return 0.0
    if audio.time_base is None or video.time_base is None:
        return 0.0
    return float(audio.start_time * audio.time_base - video.start_time * video.time_base)


def _resampled(container: InputContainer, path: str | Path, rate: int, layout: str) -> Iterator[np.ndarray]:
    """Decode and resample; a broken packet is left out with a warning, a stream of nothing else is refused."""
    # Integers: only there does FFmpeg mix channels by their mean; as floats, stereo would come out 3 dB too loud.
    resampler = AudioResampler(format="s32p", layout=layout, rate=rate)
    good = broken = 0
    try:
        for packet in container.demux(audio=0):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                broken += 1
                continue
            for frame in frames:
                good += 1
                frame.pts = None  # the resampler would otherwise refuse files whose time stamps jump
                yield from (_as_float(out) for out in resampler.resample(frame))
        if good:
            yield from (_as_float(out) for out in resampler.resample(None))
    except av.error.FFmpegError as error:
        raise UserError(f"audio '{path}': cannot be decoded ({error}); give another file") from error
    if broken > good:
        raise UserError(f"audio '{path}': {broken} of {broken + good} packets are broken; give another file")
    if broken:
        _log.warning("audio '%s': %d broken packets of %d were left out", path, broken, broken + good)
