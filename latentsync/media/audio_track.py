"""The sound of a written video: samples from an array or a file, encoded as AAC in step with the pictures."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer

from latentsync.media.audio import decoded_chunks
from latentsync.media.audio_copy import tag_language
from latentsync.media.audio_streams import Track, choose_audio_stream, language
from latentsync.media.containers import open_media

_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
# Layouts that AAC stores and names, as they come back from it; every other name of these would come back without one.
_AAC_LAYOUTS = frozenset({"mono", "stereo", "2.1", "3.0", "3.0(back)", "4.0", "quad", "5.0", "5.1", "7.1"})
# The same speakers under another name, and what FFmpeg takes channels without names for.
_SAME_LAYOUTS = {
    "quad(side)": "quad", "5.0(side)": "5.0", "5.1(side)": "5.1", "1 channels": "mono", "2 channels": "stereo",
    "3 channels": "2.1", "4 channels": "4.0", "5 channels": "5.0", "6 channels": "5.1", "8 channels": "7.1",
}  # fmt: skip
_MIXED = "stereo"
_CHUNK_SAMPLES = 1024

_log = logging.getLogger(__name__)


@dataclass
class Sound:
    """Float chunks (channels, n) in [-1, 1] at `rate`, in order; `close` frees the file behind them. language: a tag,
    or None."""

    rate: int
    layout: str
    chunks: Iterator[np.ndarray]
    language: str | None = None

    def close(self) -> None:
        """Stop reading."""
        cast(Any, self.chunks).close()


def _aac_rate(rate: int) -> int:
    """The rate itself where AAC knows it, else the next one above."""
    return next((known for known in _AAC_RATES if known >= rate), _AAC_RATES[-1])


def wave_sound(wave: np.ndarray, rate: int) -> Sound:
    """wave: (N,) float in [-1, 1], mono; rate in Hz."""
    if wave.ndim != 1:
        raise ValueError(f"audio must be (N,) mono, not {wave.shape}")

    def chunks() -> Iterator[np.ndarray]:
        for start in range(0, len(wave), rate):
            yield np.ascontiguousarray(wave[None, start : start + rate], dtype=np.float32)

    if _aac_rate(rate) == rate:
        return Sound(rate, "mono", chunks())
    return Sound(_aac_rate(rate), "mono", _resampled(chunks(), rate, _aac_rate(rate)))


def _resampled(chunks: Iterator[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    resampler = AudioResampler(format="fltp", layout="mono", rate=target)
    for chunk in chunks:
        frame = AudioFrame.from_ndarray(chunk, format="fltp", layout="mono")
        frame.sample_rate = rate
        for out in resampler.resample(frame):
            yield out.to_ndarray()
    for out in resampler.resample(None):
        yield out.to_ndarray()


def file_sound(path: str | Path, track: Track = None) -> Sound:
    """A file's sound at its own rate and layout, or as near as AAC has them (with a warning where channels are mixed).

    track: see `audio_streams`. Raises UserError for a file that cannot be read or has no such track.
    """
    with open_media(path, "audio") as container:
        stream = choose_audio_stream(container, path, track)
        rate, given = _aac_rate(stream.rate), stream.layout.name
        layout = _aac_layout(given)
        if layout != _SAME_LAYOUTS.get(given, given):
            _log.warning("audio '%s': AAC has no layout '%s'; its channels are mixed down to stereo", path, given)
        tag = language(stream)

    return Sound(rate, layout, decoded_chunks(path, rate, layout, track), tag)


def _aac_layout(name: str) -> str:
    same = _SAME_LAYOUTS.get(name, name)
    return same if same in _AAC_LAYOUTS else _MIXED


class AudioTrack:
    """An AAC stream in an open container; written up to a time, so that sound and pictures interleave."""

    def __init__(self, container: OutputContainer, sound: Sound) -> None:
        self._container = container
        self._sound = sound
        self._stream = cast(AudioStream, container.add_stream("aac", rate=sound.rate, layout=sound.layout))
        tag_language(self._stream, sound.language)
        channels = self._stream.codec_context.channels
        self._stream.bit_rate = 96_000 * min(channels, 2) if channels <= 2 else 64_000 * channels
        self._pending = np.zeros((channels, 0), dtype=np.float32)
        self._written = 0

    def write_until(self, seconds: float) -> None:
        """Encode whole AAC frames that end at or before `seconds`."""
        target = int(seconds * self._sound.rate)
        while self._written + _CHUNK_SAMPLES <= target and self._fill(_CHUNK_SAMPLES):
            self._encode(self._take(_CHUNK_SAMPLES))

    def finish(self, seconds: float) -> None:
        """Encode the rest up to `seconds`, with silence where the sound has ended, and flush the encoder."""
        self.write_until(seconds)
        total = round(seconds * self._sound.rate)
        while (missing := total - self._written) > 0:
            size = min(missing, _CHUNK_SAMPLES)
            self._fill(size)
            chunk = self._take(size)
            self._encode(np.pad(chunk, ((0, 0), (0, size - chunk.shape[1]))))
        self._container.mux(self._stream.encode(None))

    def close(self) -> None:
        """Stop reading."""
        self._sound.close()

    def _fill(self, size: int) -> bool:
        """Read until `size` samples are pending; False when the sound has fewer left."""
        parts = [self._pending]
        count = self._pending.shape[1]
        while count < size:
            chunk = next(self._sound.chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            count += chunk.shape[1]
        self._pending = np.concatenate(parts, axis=1) if len(parts) > 1 else self._pending
        return count >= size

    def _take(self, size: int) -> np.ndarray:
        chunk, self._pending = self._pending[:, :size], self._pending[:, size:]
        return chunk

    def _encode(self, chunk: np.ndarray) -> None:
        # Packed, not planar: PyAV walks planes up to a null pointer, which eight and more do not end with.
        samples = np.ascontiguousarray(chunk.T.clip(-1, 1).reshape(1, -1), dtype=np.float32)
        frame = AudioFrame.from_ndarray(samples, format="flt", layout=self._sound.layout)
        frame.sample_rate = self._sound.rate
        frame.pts, frame.time_base = self._written, Fraction(1, self._sound.rate)
        self._written += chunk.shape[1]
        self._container.mux(self._stream.encode(frame))
