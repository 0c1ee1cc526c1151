"""Speech to audio tokens: every hidden layer of a Whisper encoder, in windows around each video frame."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from latentsync.errors import UserError

SAMPLE_RATE = 16000
STEPS_PER_SECOND = 50  # one hidden vector for 20 ms
MEL_PER_SECOND = 100
PIECE_SECONDS = 30  # what Whisper's positions span
WINDOW_BEFORE, WINDOW_AFTER = 4, 5  # steps 2i−4 … 2i+5 around the first step of frame i


class AudioEncoder(nn.Module):
    """Whisper's encoder, with its log-mel in front and all its hidden layers as output.

    encoder: transformers WhisperEncoder. piece_overlap_seconds: audio beyond 30 s is encoded in pieces of 30 s that
    overlap by this much, and the middle of each overlap is where one hands over to the next; 0 cuts without overlap
    as the published system does, which leaves a seam every 30 s.
    """

    mel_filters: Tensor

    def __init__(self, encoder: WhisperEncoder, piece_overlap_seconds: float = 4.0, pieces_per_batch: int = 4) -> None:
        super().__init__()
        if not 0 <= piece_overlap_seconds < PIECE_SECONDS / 2:
            raise UserError(f"piece_overlap_seconds={piece_overlap_seconds} is not between 0 and {PIECE_SECONDS // 2}")
        self.encoder = encoder
        self.piece_overlap_seconds, self.pieces_per_batch = piece_overlap_seconds, pieces_per_batch
        extractor = WhisperFeatureExtractor(feature_size=encoder.config.num_mel_bins)
        filters = torch.from_numpy(np.ascontiguousarray(extractor.mel_filters.T)).float()  # (mels, 201)
        self.register_buffer("mel_filters", filters, persistent=False)

    @classmethod
    def from_config(cls, piece_overlap_seconds: float = 4.0, **config: int) -> "AudioEncoder":
        """A new encoder with random weights; `config` are WhisperConfig's keys (d_model, encoder_layers, …)."""
        return cls(WhisperEncoder(WhisperConfig(**config)), piece_overlap_seconds)

    @classmethod
    def from_pretrained(cls, path: str | Path, piece_overlap_seconds: float = 4.0) -> "AudioEncoder":
        """Load what `save_pretrained` wrote, or the encoder of a transformers Whisper folder, in float32.

        Raises UserError if there is none, or if its weights are damaged or lack, exceed or misshape a key.
        """
        from latentsync.weights.parts import load_audio_encoder  # which imports this module

        if not (Path(path) / "config.json").is_file():
            raise UserError(
                f"audio encoder '{path}' is missing; get it with: python -m latentsync.weights fetch whisper-tiny"
            )
        return load_audio_encoder(path, piece_overlap_seconds=piece_overlap_seconds).eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        self.encoder.save_pretrained(folder)

    @property
    def hidden_size(self) -> int:
        """D, the width of a token."""
        return self.encoder.config.d_model

    @property
    def num_layers(self) -> int:
        """Hidden layers kept: the input of the first block and the output of every block."""
        return self.encoder.config.encoder_layers + 1

    def log_mel(self, waves: Tensor) -> Tensor:
        """Whisper's log-mel (B, mels, N // 160) of 16 kHz waves (B, N), 100 columns a second."""
        window = torch.hann_window(400, device=waves.device)
        power = torch.stft(waves.float(), 400, 160, window=window, return_complex=True)[..., :-1].abs() ** 2
        mel = torch.log10((self.mel_filters @ power).clamp(min=1e-10))
        mel = torch.maximum(mel, mel.amax(dim=(-2, -1), keepdim=True) - 8)
        return (mel + 4) / 4

    def encode(self, mel: Tensor) -> Tensor:
        """Hidden layers (B, 1500, layers + 1, D) of log-mel (B, mels, ≤ 3000), before the final LayerNorm.

        Shorter mel is padded with zeros, as published (zeros in the mel, which are not the mel of silence).
        """
        hidden: list[Tensor] = []
        # The final norm's input is the last block's output; transformers itself hands out only the norm's output.
        handles = [
            layer.register_forward_pre_hook(lambda _, inputs: hidden.append(inputs[0]))
            for layer in (*self.encoder.layers, self.encoder.layer_norm)
        ]
        try:
            padded = nn.functional.pad(mel, (0, PIECE_SECONDS * MEL_PER_SECOND - mel.shape[-1]))
            self.encoder(padded.to(self.encoder.conv1.weight.dtype))
        finally:
            for handle in handles:
                handle.remove()
        return torch.stack(hidden, dim=2)

    def hidden_states(self, wave: Tensor | np.ndarray) -> Tensor:
        """Hidden layers (T, layers + 1, D) of a 16 kHz mono wave (N,) in [-1, 1], T = N // 320, 50 a second.

        Raises UserError for a wave shorter than one step of 20 ms.
        """
        wave = torch.as_tensor(wave, device=self.mel_filters.device)
        if wave.ndim != 1 or len(wave) < SAMPLE_RATE // STEPS_PER_SECOND:
            raise UserError(f"audio of {len(wave) / SAMPLE_RATE:.3f} s is too short to encode")
        mel = self.log_mel(wave[None])[0]  # (mels, N // 160), normalised over the whole audio, as published
        starts, keeps = self._plan(len(wave) // (SAMPLE_RATE // STEPS_PER_SECOND))
        parts: list[Tensor] = []
        for first in range(0, len(starts), self.pieces_per_batch):
            batch = starts[first : first + self.pieces_per_batch]
            pieces = [mel[:, 2 * start : 2 * start + PIECE_SECONDS * MEL_PER_SECOND].T for start in batch]
            hidden = self.encode(nn.utils.rnn.pad_sequence(pieces, batch_first=True).transpose(1, 2))
            for piece, start, (begin, end) in zip(hidden, batch, keeps[first:]):
                parts.append(piece[begin - start : end - start])
        return torch.cat(parts)

    def frame_tokens(self, hidden: Tensor, num_frames: int, fps: float = 25) -> Tensor:
        """See the function `frame_tokens`."""
        return frame_tokens(hidden, num_frames, fps)

    def _plan(self, num_steps: int) -> tuple[list[int], list[tuple[int, int]]]:
        """Where pieces start, and which steps are taken from each."""
        length = PIECE_SECONDS * STEPS_PER_SECOND
        overlap = round(self.piece_overlap_seconds * STEPS_PER_SECOND)
        starts = [0]
        while starts[-1] + length < num_steps:
            starts.append(starts[-1] + length - overlap)
        cuts = [0, *(start + overlap // 2 for start in starts[1:]), num_steps]
        return starts, list(pairwise(cuts))


def frame_tokens(hidden: Tensor, num_frames: int, fps: float = 25) -> Tensor:
    """Audio tokens (F, 10 · (layers + 1), D) of each video frame, out of hidden layers (T, layers + 1, D).

    Frame i takes the 10 steps 2i−4 … 2i+5 at 25 fps (in general around step i · 50 / fps), clamped to the audio; tokens
    are step-major, the layers of one step side by side.
    """
    first = (torch.arange(num_frames, device=hidden.device) * STEPS_PER_SECOND / fps).floor().long()
    offsets = torch.arange(-WINDOW_BEFORE, WINDOW_AFTER + 1, device=hidden.device)
    steps = (first[:, None] + offsets).clamp(0, len(hidden) - 1)  # (F, 10)
    return hidden[steps].flatten(1, 2)
