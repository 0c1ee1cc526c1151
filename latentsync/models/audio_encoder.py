"""Speech to audio tokens: every hidden layer of a Whisper encoder, in windows around each video frame."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from latentsync.errors import UserError
from latentsync.media.rates import SAMPLE_RATE
from latentsync.models.weight_files import fingerprint, folder_config, folder_weights, load_strict, readable

STEPS_PER_SECOND = 50  # one hidden vector for 20 ms
MEL_PER_SECOND = 100
PIECE_SECONDS = 30  # what Whisper's positions span
WINDOW_BEFORE, WINDOW_AFTER = 4, 5  # steps 2i−4 … 2i+5 around the first step of frame i
_HOP = SAMPLE_RATE // MEL_PER_SECOND
_REACH = 200  # samples before and after its place that a mel column looks at


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
        self.origin: dict[str, str] | None = None
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
        if not (Path(path) / "config.json").is_file():
            raise UserError(
                f"audio encoder '{path}' is missing; get it with: python -m latentsync.weights fetch whisper-tiny"
            )
        config = {name: value for name, value in folder_config(Path(path)).items() if not name.startswith("_")}
        encoder = WhisperEncoder(WhisperConfig(**config))
        load_strict(encoder, encoder_part(folder_weights(Path(path))), f"audio encoder '{path}'")
        return cls(encoder.float(), piece_overlap_seconds).eval().came_from(path)

    def came_from(self, source: str | Path) -> "AudioEncoder":
        """Note where the weights are from, and their fingerprint; returns itself."""
        self.origin = {"source": str(source), "fingerprint": fingerprint(self.encoder)}
        return self

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors."""
        self.encoder.save_pretrained(folder)
        readable(Path(folder))

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
        mel = self._log_power(nn.functional.pad(waves.float()[:, None], (_REACH, _REACH), "reflect")[:, 0])[..., :-1]
        return _scaled(mel, mel.amax(dim=(-2, -1), keepdim=True))

    def _log_power(self, waves: Tensor) -> Tensor:
        """log10 of the mel power (B, mels, T) of waves (B, 160 · (T − 1) + 400)."""
        window = torch.hann_window(2 * _REACH, device=waves.device)
        power = torch.stft(waves, 2 * _REACH, _HOP, window=window, center=False, return_complex=True).abs() ** 2
        return torch.log10((self.mel_filters @ power).clamp(min=1e-10))

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
        if wave.ndim != 1:
            raise ValueError(f"wave must be (N,), not {tuple(wave.shape)}")
        starts, keeps = self._plan(self.num_steps(len(wave)))
        mel = self.log_mel(wave[None])[0]  # (mels, N // 160), normalised over the whole audio, as published
        parts: list[Tensor] = []
        for first in range(0, len(starts), self.pieces_per_batch):
            batch = starts[first : first + self.pieces_per_batch]
            pieces = [mel[:, 2 * start : 2 * start + PIECE_SECONDS * MEL_PER_SECOND].T for start in batch]
            hidden = self.encode(nn.utils.rnn.pad_sequence(pieces, batch_first=True).transpose(1, 2))
            for piece, start, (begin, end) in zip(hidden, batch, keeps[first:]):
                parts.append(piece[begin - start : end - start])
        return torch.cat(parts)

    def num_steps(self, num_samples: int) -> int:
        """T, the steps of 20 ms of a recording. Raises UserError for less than one."""
        if num_samples < SAMPLE_RATE // STEPS_PER_SECOND:
            raise UserError(f"audio of {num_samples / SAMPLE_RATE:.3f} s is too short to encode")
        return num_samples // (SAMPLE_RATE // STEPS_PER_SECOND)

    def loudest(self, chunks: Iterator[np.ndarray], num_samples: int) -> Tensor:
        """The highest log10 mel power of a recording, to which Whisper's log-mel is relative: a number.

        chunks: the 16 kHz mono wave in order, float32 (n,) each, `num_samples` together.
        """
        wave, columns = _Wave(chunks), num_samples // _HOP
        length = PIECE_SECONDS * MEL_PER_SECOND
        return torch.stack(
            [
                self._log_power(self._around(wave, first, min(first + length, columns), num_samples)).amax()
                for first in range(0, columns, length)
            ]
        ).amax()

    def stream(self, chunks: Iterator[np.ndarray], num_samples: int, loudest: Tensor) -> Iterator[tuple[int, Tensor]]:
        """`hidden_states` in parts, for recordings of any length: (first step, hidden layers (n, layers + 1, D)).

        chunks, num_samples, loudest: see `loudest`. Some 35 s of the wave are held.
        """
        wave = _Wave(chunks)
        starts, keeps = self._plan(self.num_steps(num_samples))
        for start, (begin, end) in zip(starts, keeps, strict=True):
            first = 2 * start
            last = min(first + PIECE_SECONDS * MEL_PER_SECOND, num_samples // _HOP)
            mel = _scaled(self._log_power(self._around(wave, first, last, num_samples)), loudest)
            yield begin, self.encode(mel)[0, begin - start : end - start]

    def _around(self, wave: "_Wave", first: int, last: int, num_samples: int) -> Tensor:
        """The samples (1, n) that mel columns [first, last) look at, mirrored at the recording's ends."""
        start, stop = first * _HOP - _REACH, (last - 1) * _HOP + _REACH
        samples = wave.between(max(0, start), min(stop, num_samples))
        samples = np.pad(samples, (max(0, -start), max(0, stop - num_samples)), mode="reflect")
        return torch.from_numpy(samples)[None].to(self.mel_filters.device)

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


def encoder_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's keys of a transformers Whisper, with whatever stands before them taken off; others are left out."""
    marker = "conv1.weight"
    prefix = next((key.removesuffix(marker) for key in state if key.endswith(marker)), "")
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _scaled(log_power: Tensor, loudest: Tensor) -> Tensor:
    """Whisper's range: eight decades below the loudest, then about −1 … 1."""
    return (torch.maximum(log_power, loudest - 8) + 4) / 4


class _Wave:
    """A wave that arrives in chunks, as a window that moves forwards."""

    def __init__(self, chunks: Iterator[np.ndarray]) -> None:
        self._chunks = chunks
        self._first = 0
        self._held = np.zeros(0, np.float32)

    def between(self, start: int, stop: int) -> np.ndarray:
        """Samples [start, stop), float32; what lies before `start` is given up. Raises ValueError beyond the end."""
        parts = [self._held[start - self._first :]]
        count = len(parts[0])
        while count < stop - start:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise ValueError(f"the wave ends before sample {stop}")
            parts.append(np.asarray(chunk, dtype=np.float32))
            count += len(chunk)
        # A chunk can lie wholly before `start` only when nothing was held.
        self._first, self._held = start, np.concatenate(parts)
        return self._held[: stop - start]
