"""SyncNet v2 (Chung and Zisserman, "Out of time", 2016): the offset and confidence that lip-sync papers report.

A 5-frame window of face crops and 0.2 s of MFCC are embedded; the mean distance over all windows is taken for each
shift of the sound within ±15 frames. offset = 15 − argmin, confidence = median − min ("Sync_conf" in the LatentSync
paper).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft
import torch
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.media.rates import FPS, SAMPLE_RATE
from latentsync.models.weight_files import load_strict, state_of
from latentsync.weights.adapter import load_file
from latentsync.weights.registry import known, place

CROP = 224  # pixels, height and width of a face crop
WINDOW = 5  # frames
STEPS_PER_FRAME = 4  # MFCC steps of 10 ms
MAX_SHIFT = 15  # frames


@dataclass(frozen=True)
class SyncScore:
    """How well, and with which shift, a sound fits a face.

    offset: frames by which the sound is early (delay it by so many to mend it); negative = late; 0 = in sync.
    confidence: median − min distance; above about 3 the speech is that of the face. min_distance: at the best shift.
    distances: (2 · MAX_SHIFT + 1,) mean distance for each shift of the sound, from −MAX_SHIFT to +MAX_SHIFT frames.
    """

    offset: int
    confidence: float
    min_distance: float
    distances: np.ndarray


class SyncNetV2(nn.Module):
    """The two towers of SyncNet v2, 13.6 M weights, with the key names of the published `syncnet_v2.model`."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *block2d(1, 64, 3, 1),
            nn.MaxPool2d(1, 1),
            *block2d(64, 192, 3, 1),
            nn.MaxPool2d(3, (1, 2)),
            *block2d(192, 384, 3, 1),
            *block2d(384, 256, 3, 1),
            *block2d(256, 256, 3, 1),
            nn.MaxPool2d(3, 2),
            *block2d(256, 512, (5, 4), 0),
        )
        self.netfcaud = head()
        self.netfclip = head()
        self.netcnnlip = nn.Sequential(
            *block3d(3, 96, (5, 7, 7), (1, 2, 2), 0),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *block3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *block3d(256, 256, (1, 3, 3), 1, (0, 1, 1)),
            *block3d(256, 256, (1, 3, 3), 1, (0, 1, 1)),
            *block3d(256, 256, (1, 3, 3), 1, (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *block3d(256, 512, (1, 6, 6), 1, 0),
        )

    def embed_audio(self, mfcc_windows: Tensor) -> Tensor:
        """MFCC windows (N, 1, 13, 20) to embeddings (N, 1024)."""
        return self.netfcaud(self.netcnnaud(mfcc_windows).flatten(1))

    def embed_video(self, clips: Tensor) -> Tensor:
        """Windows of face crops (N, 3, 5, 224, 224), [0, 255], channels B, G, R, to embeddings (N, 1024)."""
        return self.netfclip(self.netcnnlip(clips).flatten(1))


def block2d(inputs: int, outputs: int, kernel: int | tuple[int, int], padding: int) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    return [nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU()]


def block3d(inputs: int, outputs: int, kernel: tuple, stride: int | tuple, padding: int | tuple) -> list[nn.Module]:
    """Convolution over (frames, rows, columns), batch norm, ReLU."""
    return [nn.Conv3d(inputs, outputs, kernel, stride, padding), nn.BatchNorm3d(outputs), nn.ReLU()]


def head() -> nn.Sequential:
    """The fully connected end of a tower, 512 → 1024."""
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


def load_syncnet_v2(path: Path | str | None = None, device: torch.device | str = "cpu") -> SyncNetV2:
    """The network with published weights, in eval mode.

    path: `syncnet_v2.model`, None = where `fetch syncnet-v2` puts it. Raises UserError when the file is absent or does
    not fit.
    """
    path = place(known("syncnet-v2").files[0]) if path is None else Path(path)
    if not path.is_file():
        raise UserError(f"'{path}': no such file; `python -m latentsync.weights fetch syncnet-v2` gets SyncNet v2")
    network = SyncNetV2()
    load_strict(network, without_prefix(state_of(load_file(path))), str(path))
    return network.to(device).eval().requires_grad_(False)


def without_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same table with whatever stands before 'netcnnaud.0.weight' taken off every key."""
    marker = "netcnnaud.0.weight"
    prefix = next((key.removesuffix(marker) for key in state if key.endswith(marker)), "")
    return {key.removeprefix(prefix): value for key, value in state.items()}


def mfcc(samples: np.ndarray) -> np.ndarray:
    """13 cepstral coefficients each 10 ms, (T, 13), of 16 kHz samples on the int16 scale.

    The arithmetic of python_speech_features' defaults, which SyncNet v2 was trained on: pre-emphasis 0.97, rectangular
    25 ms frames, 512-point power spectrum, 26 triangular mel filters over 0–8000 Hz, orthonormal DCT, lifter 22, and
    the log of the frame's energy in place of coefficient 0.
    """
    samples = np.asarray(samples, dtype=np.float64)
    emphasised = np.append(samples[:1], samples[1:] - 0.97 * samples[:-1])
    length, step, fft = 400, 160, 512
    count = 1 if len(emphasised) <= length else 1 + int(np.ceil((len(emphasised) - length) / step))
    padded = np.pad(emphasised, (0, (count - 1) * step + length - len(emphasised)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::step]
    power = np.abs(np.fft.rfft(frames, fft)) ** 2 / fft  # (T, 257)
    tiny = np.finfo(float).eps
    energy = power.sum(axis=1)
    mel = power @ mel_filters(26, fft).T
    cepstra = scipy.fft.dct(np.log(np.where(mel == 0, tiny, mel)), type=2, axis=1, norm="ortho")[:, :13]
    cepstra *= 1 + 11 * np.sin(np.pi * np.arange(13) / 22)
    cepstra[:, 0] = np.log(np.where(energy == 0, tiny, energy))
    return cepstra


def mel_filters(count: int, fft: int) -> np.ndarray:
    """Triangles (count, fft // 2 + 1) that meet at whole FFT bins, evenly spaced in mel = 2595·log10(1 + f/700)."""
    top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, count + 2) / 2595) - 1)
    edges = np.floor((fft + 1) * hertz / SAMPLE_RATE).astype(int)
    filters = np.zeros((count, fft // 2 + 1))
    for row, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:])):
        filters[row, left:centre] = (np.arange(left, centre) - left) / (centre - left) if centre > left else 0
        filters[row, centre:right] = (right - np.arange(centre, right)) / (right - centre) if right > centre else 0
    return filters


def embed(network: SyncNetV2, frames: np.ndarray, samples: np.ndarray, batch_size: int = 20) -> tuple[Tensor, Tensor]:
    """(video embeddings, audio embeddings), each (W, 1024), one row for each window that starts at frame 0 … W − 1.

    frames: (F, 224, 224, 3) uint8 in the channel order of the weights (B, G, R for the published ones); samples:
    16 kHz, int16 scale. W = min(F, whole frames of sound) − 5, as published. Raises UserError when that is not
    positive.
    """
    windows = num_windows(len(frames), samples)
    return (
        embed_frames(network, frames[: windows + WINDOW - 1], batch_size),
        embed_sound(network, samples, windows, batch_size),
    )


def num_windows(num_frames: int, samples: np.ndarray) -> int:
    """W of `embed`. Raises UserError when it is not positive."""
    windows = min(num_frames, len(samples) * FPS // SAMPLE_RATE) - WINDOW
    if windows <= 0:
        raise UserError(
            f"sync score: {num_frames} frames with {len(samples) / SAMPLE_RATE:.2f} s of sound are too short"
        )
    return windows


@torch.inference_mode()
def embed_frames(network: SyncNetV2, frames: np.ndarray, batch_size: int = 20) -> Tensor:
    """Embeddings (F − 4, 1024) of all windows of frames (F, 224, 224, 3), see `embed`."""
    device = next(network.parameters()).device
    windows, embedded = len(frames) - WINDOW + 1, []
    for start in range(0, windows, batch_size):
        piece = torch.from_numpy(frames[start : min(start + batch_size, windows) + WINDOW - 1]).to(device).float()
        clips = piece.unfold(0, WINDOW, 1).permute(0, 3, 4, 1, 2)  # (N, 3, 5, 224, 224)
        embedded.append(network.embed_video(clips))
    return torch.cat(embedded)


@torch.inference_mode()
def embed_sound(network: SyncNetV2, samples: np.ndarray, windows: int, batch_size: int = 20) -> Tensor:
    """Embeddings (windows, 1024) of samples, see `embed`."""
    device = next(network.parameters()).device
    cepstra = torch.from_numpy(mfcc(samples).T.astype(np.float32)).to(device)  # (13, T)
    embedded = []
    for start in range(0, windows, batch_size):
        stop = min(start + batch_size, windows)
        sound = cepstra[:, STEPS_PER_FRAME * start : STEPS_PER_FRAME * (stop + WINDOW - 1)]
        steps = sound.unfold(1, STEPS_PER_FRAME * WINDOW, STEPS_PER_FRAME)  # (13, N, 20)
        embedded.append(network.embed_audio(steps.permute(1, 0, 2).unsqueeze(1)))
    return torch.cat(embedded)


def shifted_distances(video: Tensor, audio: Tensor, max_shift: int = MAX_SHIFT) -> Tensor:
    """Mean Euclidean distance of video (W, D) to audio (W, D) shifted by −max_shift … max_shift: (2·max_shift + 1,).

    Beyond the ends the audio embedding is zero, as published.
    """
    padded = nn.functional.pad(audio, (0, 0, max_shift, max_shift))
    shifts = range(2 * max_shift + 1)
    per_shift = [nn.functional.pairwise_distance(video, padded[shift : shift + len(video)]).mean() for shift in shifts]
    return torch.stack(per_shift)


def score_embeddings(video: Tensor, audio: Tensor) -> SyncScore:
    """Offset and confidence from the embeddings of all windows, (W, D) each."""
    distances = shifted_distances(video, audio)
    best = int(distances.argmin())
    return SyncScore(
        offset=MAX_SHIFT - best,
        confidence=float(distances.median() - distances[best]),
        min_distance=float(distances[best]),
        distances=distances.cpu().numpy(),
    )


class SyncNetV2Scorer:
    """Scores face tracks. weights: `syncnet_v2.model` or None for the fetched one; batch_size: windows at a time."""

    def __init__(self, weights: Path | str | None = None, device: str = "cpu", batch_size: int = 20) -> None:
        self.network, self.batch_size = load_syncnet_v2(weights, device), batch_size

    def score(self, frames: np.ndarray, wave: np.ndarray) -> SyncScore:
        """frames: (F, 224, 224, 3) uint8 RGB face crops at 25 fps; wave: (N,) float 16 kHz mono in [−1, 1].

        Raises UserError on another shape and on less than 6 frames.
        """
        video = self.embed(frames)
        return self.score_embedded(video, wave)

    def embed(self, frames: np.ndarray) -> Tensor:
        """Embeddings of frames as in `score`: with them `score_embedded` needs no picture."""
        if frames.ndim != 4 or frames.shape[1:] != (CROP, CROP, 3):
            raise UserError(f"sync score: crops of shape {frames.shape[1:]}; SyncNet v2 wants ({CROP}, {CROP}, 3)")
        if len(frames) <= WINDOW:
            raise UserError(f"sync score: {len(frames)} frames are too short")
        bgr = np.ascontiguousarray(frames[..., ::-1])  # trained on frames as OpenCV reads them
        return embed_frames(self.network, bgr, self.batch_size)

    def score_embedded(self, video: Tensor, wave: np.ndarray) -> SyncScore:
        """The score of embedded frames and their sound."""
        samples = np.clip(np.asarray(wave, dtype=np.float64) * 32767, -32768, 32767).astype(np.int16)
        windows = num_windows(len(video) + WINDOW - 1, samples)
        return score_embeddings(video[:windows], embed_sound(self.network, samples, windows, self.batch_size))
