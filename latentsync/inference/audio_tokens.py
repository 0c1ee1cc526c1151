"""The driving sound as tokens, a few frames at a time."""

import numpy as np
import torch
from torch import Tensor

from latentsync.inference.plan import FPS
from latentsync.models.audio_encoder import AudioEncoder

_STEPS_PER_FRAME = 2  # 50 feature vectors a second for 25 frames
_CONTEXT_FRAMES = 3  # a frame looks 4 steps back and 5 ahead: less than 3 frames each way


class AudioTokens:
    """Hidden states of a whole recording, kept on the CPU; tokens (ten times larger) are made for the frames asked for.

    wave: float32 (N,), mono, 16 kHz.
    """

    def __init__(self, encoder: AudioEncoder, wave: np.ndarray) -> None:
        self._encoder = encoder
        with torch.inference_mode():
            self._hidden = encoder.hidden_states(wave).cpu()  # (T, layers + 1, D)

    def frames(self, start: int, count: int) -> Tensor:
        """Tokens (count, 10·(layers + 1), D) of frames [start, start + count), as made from the whole recording."""
        first = max(0, start - _CONTEXT_FRAMES)
        stop = start + count + _CONTEXT_FRAMES
        hidden = self._hidden[_STEPS_PER_FRAME * first : _STEPS_PER_FRAME * stop]
        return self._encoder.frame_tokens(hidden, start + count - first, fps=FPS)[start - first :]
