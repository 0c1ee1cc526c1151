"""The driving sound as tokens, a few frames at a time, however long the recording is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from latentsync.media.audio import decoded_chunks
from latentsync.media.audio_streams import Track
from latentsync.media.rates import FPS, SAMPLE_RATE

if TYPE_CHECKING:
    from latentsync.models.audio_encoder import AudioEncoder

_STEPS_PER_FRAME = 2  # 50 feature vectors a second for 25 frames
_CONTEXT_FRAMES = 3  # a frame looks 4 steps back and 5 ahead: less than 3 frames each way
_PIECES_KEPT = 3
_GATE_REACH = 5  # blocks of 20 ms

Chunks = Callable[[], Iterator[np.ndarray]]


class AudioTokens:
    """Tokens of a recording's frames; hidden states are computed when they are come to, and only the last are kept.

    sound: gives the recording from its start, float32 chunks (n,), mono, 16 kHz; it is gone through twice (Whisper's
    log-mel is relative to the loudest moment of the whole). num_samples: its length. frames may be asked for in any
    order that goes back by less than half a minute.
    """

    def __init__(self, encoder: AudioEncoder, sound: Chunks, num_samples: int) -> None:
        self._encoder = encoder
        with torch.inference_mode():
            self._loudest = encoder.loudest(sound(), num_samples)
        self._pieces = encoder.stream(sound(), num_samples, self._loudest)
        self._kept: list[tuple[int, Tensor]] = []  # (first step, hidden states (n, layers + 1, D)), side by side
        self._num_steps = encoder.num_steps(num_samples)

    def frames(self, start: int, count: int) -> Tensor:
        """Tokens (count, 10·(layers + 1), D) of frames [start, start + count), as made from the whole recording."""
        first = min(max(0, start - _CONTEXT_FRAMES), self._num_steps // _STEPS_PER_FRAME)
        stop = _STEPS_PER_FRAME * (start + count + _CONTEXT_FRAMES)
        hidden = self._hidden(_STEPS_PER_FRAME * first, min(stop, self._num_steps))
        return self._encoder.frame_tokens(hidden, start + count - first, fps=FPS)[start - first :]

    @torch.inference_mode()
    def _hidden(self, start: int, stop: int) -> Tensor:
        """Steps [start, stop); of a recording that has ended, its last one."""
        start = min(start, self._num_steps - 1)
        while not self._kept or self._kept[-1][0] + len(self._kept[-1][1]) < stop:
            first, hidden = next(self._pieces)
            self._kept = [*self._kept[1 - _PIECES_KEPT :], (first, hidden.cpu())]
        if start < self._kept[0][0]:
            raise ValueError(f"step {start} has been left behind; the oldest kept is {self._kept[0][0]}")
        offset = self._kept[0][0]
        return torch.cat([hidden for _, hidden in self._kept])[start - offset : stop - offset]


def recording(path: Path, gate: float | None = None, track: Track = None) -> Chunks:
    """A file's sound as `AudioTokens` takes it. gate: dBFS under which all is made silence (see `gated`); track: a
    number from 0 or a language tag, None: the default one."""

    def chunks() -> Iterator[np.ndarray]:
        mono = (chunk[0].clip(-1, 1) for chunk in decoded_chunks(path, SAMPLE_RATE, "mono", track))
        return mono if gate is None else gated(mono, gate)

    return chunks


def gated(sound: Iterator[np.ndarray], threshold: float) -> Iterator[np.ndarray]:
    """Sound with silence where it stays under `threshold` dBFS (in 20 ms) for more than 0.1 s before and after.

    sound: float32 chunks (n,) at 16 kHz; as many samples come out, in blocks of 20 ms.
    """
    level = 10 ** (threshold / 20)
    near: deque[tuple[np.ndarray, bool]] = deque(maxlen=2 * _GATE_REACH + 1)
    ending = repeat(np.zeros(0, np.float32), _GATE_REACH)
    for block in chain(_blocks(sound, SAMPLE_RATE // 50), ending):
        near.append((block, bool(len(block)) and float(np.sqrt(np.mean(np.square(block)))) >= level))
        if len(near) > _GATE_REACH:
            now = near[-1 - _GATE_REACH][0]
            yield now if any(loud for _, loud in near) else np.zeros_like(now)


def _blocks(sound: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    rest = np.zeros(0, np.float32)
    for chunk in sound:
        rest = np.concatenate([rest, chunk])
        for start in range(0, len(rest) - size + 1, size):
            yield rest[start : start + size]
        rest = rest[len(rest) // size * size :]
    yield rest
