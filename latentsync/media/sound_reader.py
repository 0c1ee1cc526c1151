"""The one reader of sound: decoded, laid out by its time stamps, mixed to a layout and brought to a rate.

Where stamps leave a gap (a pause in transmission, lost packets, a missing beginning) there is silence; where they
overlap, what comes later is trimmed. So whoever reads sound hears each moment at the time at which it is stored.
"""

import logging
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from latentsync.errors import UserError
from latentsync.media.time_zero import time_zero

# Stamps are rounded (Matroska: to 1 ms); what differs by no more than this goes on without a seam.
TOLERANCE_SECONDS = 3e-3
# So many of the frames that follow must agree with a stamp that leaves the line: single ones are often wrong.
_WITNESSES = 8
# What players do not pass over: less than the shortest frame of a codec that could be missing.
_SEAM_SECONDS = 0.01
# A clock that goes back by this, or jumps ahead by an hour, was started anew: the sound goes on as if it had not.
_RESTART_BACK, _RESTART_AHEAD = -1.0, 3600.0

_log = logging.getLogger(__name__)


class SoundReader:
    """A sound track as float32 chunks (channels, n) in [-1, 1], from the file's time zero on (see `time_zero`).

    container: freshly opened from `source`, and gone through once; name: what messages call it. rate: in Hz; layout:
    FFmpeg's name of one. Raises UserError, when iterated, where the track cannot be decoded or more of it is broken
    than whole.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        source: str | Path | bytes,
        name: str,
        rate: int,
        layout: str,
    ) -> None:
        self._container, self._stream, self._name = container, stream, name
        self._line = _TimeLine(rate, layout, time_zero(container, source, stream))
        self._cuts = 0

    @property
    def seams(self) -> int:
        """In how many places so far, after its first sample, the sound does not simply go on: gaps, overlaps, a change
        of its kind, packets that an edit list leaves out."""
        return self._line.seams + self._cuts

    def __iter__(self) -> Iterator[np.ndarray]:
        try:
            for frame, witnessed in _with_witnesses(self._decoded()):
                yield from self._line.add(frame, witnessed)
            yield from self._line.end()
        except av.error.FFmpegError as error:
            raise UserError(f"{self._name}: cannot be decoded ({error}); give another file") from error

    def _decoded(self) -> Iterator[AudioFrame]:
        """Decoded frames; a broken packet is left out with a warning, a stream of nothing else is refused."""
        good = broken = 0
        for packet in self._container.demux(self._stream):
            self._cuts += packet.is_discard and good > 0
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                broken += 1
                continue
            for frame in frames:
                if isinstance(frame, AudioFrame) and frame.samples:
                    good += 1
                    yield frame
        if broken > good:
            raise UserError(f"{self._name}: {broken} of {broken + good} packets are broken; give another file")
        if broken:
            _log.warning("%s: %d broken packets of %d were left out", self._name, broken, broken + good)


def _with_witnesses(frames: Iterator[AudioFrame]) -> Iterator[tuple[AudioFrame, float | None]]:
    """Each frame with what the stamps of those after it make of its own.

    The number is where the frame would begin, in seconds of the file's time, if the median of the stamps that follow
    (less the sound in between) is right; None where there are no stamps.
    """
    ahead: deque[AudioFrame] = deque()
    for frame in frames:
        ahead.append(frame)
        if len(ahead) > _WITNESSES:
            yield ahead[0], _witnessed(ahead)
            ahead.popleft()
    while ahead:
        yield ahead[0], _witnessed(ahead)
        ahead.popleft()


def _witnessed(frames: deque[AudioFrame]) -> float | None:
    told, passed = [], 0.0
    for frame in frames:
        if frame.time is not None:
            told.append(frame.time - passed)
        passed += frame.samples / frame.sample_rate
    return median(told) if told else None


class _TimeLine:
    """Puts frames where they belong. A run is a stretch without a seam; it has a resampler of its own."""

    def __init__(self, rate: int, layout: str, zero: float | None) -> None:
        self._rate, self._layout, self._zero = rate, layout, zero
        self._channels = av.AudioLayout(layout).nb_channels
        self._position = 0  # samples given out
        self._skip = 0  # samples to leave out of what comes next
        self._run: _Run | None = None
        self.seams = 0

    def add(self, frame: AudioFrame, witnessed: float | None) -> Iterator[np.ndarray]:
        """frame: the next one; witnessed: see `_with_witnesses`."""
        if self._run is None or not self._run.goes_on(frame, witnessed):
            yield from self._begin(frame)
        assert self._run is not None
        for chunk in self._run.feed(frame):
            yield from self._give(chunk)

    def end(self) -> Iterator[np.ndarray]:
        """What the resampler still holds."""
        if self._run is not None:
            for chunk in self._run.flush():
                yield from self._give(chunk)

    def _begin(self, frame: AudioFrame) -> Iterator[np.ndarray]:
        """End the run, and go to where the next one begins: with silence, or by trimming it."""
        yield from self.end()
        stamp = frame.time
        if self._zero is None:
            self._zero = stamp or 0.0
        ahead, restarted = 0.0, False
        if stamp is not None:
            ahead = stamp - self._zero - self._position / self._rate
            restarted = ahead > _RESTART_AHEAD or (self._run is not None and ahead < _RESTART_BACK)
            if restarted:
                self._zero, ahead = self._zero + ahead, 0.0
        changed = self._run is not None and self._run.kind != _kind_of(frame)
        self.seams += self._position > 0 and (changed or restarted or abs(ahead) > _SEAM_SECONDS)
        self._run = _Run(frame, self._rate, self._layout)
        missing = round(ahead * self._rate)
        self._skip = max(0, -missing)
        while missing > 0:
            silence = np.zeros((self._channels, min(missing, self._rate)), np.float32)
            missing -= silence.shape[1]
            yield from self._give(silence)

    def _give(self, chunk: np.ndarray) -> Iterator[np.ndarray]:
        left_out = min(self._skip, chunk.shape[1])
        self._skip -= left_out
        if chunk.shape[1] > left_out:
            self._position += chunk.shape[1] - left_out
            yield chunk[:, left_out:]


class _Run:
    """A stretch of sound of one kind, mixed and resampled."""

    def __init__(self, first: AudioFrame, rate: int, layout: str) -> None:
        self.kind = _kind_of(first)
        self._rate, self._layout = rate, layout
        self._start, self._samples = first.time, 0
        self._channels = av.AudioLayout(layout).nb_channels
        # Packed, not planar: PyAV walks planes up to a null pointer, which eight and more do not end with. Integers:
        # only there does FFmpeg mix channels by their mean; as floats, stereo would come out 3 dB too loud.
        self._resampler = AudioResampler(format="s32", layout=layout, rate=rate)
        self._mean_of = 0  # channels that FFmpeg cannot mix to the layout, which then gets their mean

    def goes_on(self, frame: AudioFrame, witnessed: float | None) -> bool:
        """Whether the frame follows without a seam: its stamp says so, or those after it do not back its stamp."""
        if _kind_of(frame) != self.kind:
            return False
        if frame.time is None or witnessed is None or self._start is None:
            return True
        due = self._start + self._samples / frame.sample_rate
        own, others = frame.time - due, witnessed - due
        if abs(own) <= TOLERANCE_SECONDS:
            return True
        return others < own - TOLERANCE_SECONDS if own > 0 else others > own + TOLERANCE_SECONDS

    def feed(self, frame: AudioFrame) -> Iterator[np.ndarray]:
        """The frame, as far as the resampler gives it out."""
        self._samples += frame.samples
        frame.pts = None  # the resampler would otherwise refuse stamps that jump
        try:
            yield from map(self._as_floats, self._resampler.resample(frame))
        except av.error.FFmpegError:
            if self._mean_of or self._samples > frame.samples:
                raise
            self._mean_of = frame.layout.nb_channels
            self._resampler = AudioResampler(format="s32", layout=frame.layout, rate=self._rate)
            yield from map(self._as_floats, self._resampler.resample(frame))

    def flush(self) -> Iterator[np.ndarray]:
        """What is left."""
        yield from map(self._as_floats, self._resampler.resample(None))

    def _as_floats(self, frame: AudioFrame) -> np.ndarray:
        """(channels, n)"""
        packed = frame.to_ndarray().reshape(frame.samples, -1)  # (n, channels) int32
        samples = (packed.T / 2.0**31).astype(np.float32)
        if self._mean_of:
            return np.repeat(samples.mean(axis=0, keepdims=True), self._channels, axis=0)
        return samples


def _kind_of(frame: AudioFrame) -> tuple[str, str, int, int]:
    return frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate
