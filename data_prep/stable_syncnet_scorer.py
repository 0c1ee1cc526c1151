"""Our SyncNet as a scorer of offsets; a file of its own because it takes seconds to import."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data_prep.av_offset import Score, best_shift
from latentsync.errors import UserError
from latentsync.media.mel import log_mel, mel_window
from latentsync.media.rates import FPS
from latentsync.weights.registry import NAMES
from latentsync.weights.syncnet import load_syncnet


@dataclass(frozen=True)
class Embedded:
    """Unit embeddings (W, D) of the windows of pictures that begin at frames `starts` (W,), out of `count` possible."""

    vision: Tensor
    starts: np.ndarray
    count: int


class StableSyncNetScorer:
    """Our SyncNet, of 16 frames: the mean cosine of pictures and sound for each shift within ±15 frames.

    offset: of the greatest mean; confidence: the greatest minus the median, 0 … 1. weights: its folder, file or name;
    stride: frames between the windows looked at; version: "1.0" takes LatentSync 1.0's SyncNet. Raises UserError where
    the weights are missing, of another version, or look at latents.
    """

    def __init__(
        self,
        weights: str | Path,
        device: str = "cpu",
        stride: int = 4,
        batch_size: int = 8,
        version: str | float = "1.5",
    ) -> None:
        if not Path(weights).exists() and str(weights) not in NAMES:
            raise UserError(
                f"weights '{weights}' are not there; run `python -m latentsync.weights fetch stable-syncnet` or give "
                "syncnet.weights=FOLDER"
            )
        self._net = load_syncnet(weights, version=version).to(device).eval().requires_grad_(False)
        if self._net.config["latent_space"]:
            raise UserError(f"weights '{weights}': a SyncNet of latents; give one of pixels")
        self._device, self._stride, self._batch_size = device, stride, batch_size
        self._window = int(self._net.config["num_frames"])

    def score(self, frames: np.ndarray, wave: np.ndarray) -> Score:
        """See `SyncScorer`; the frames are aligned crops. Raises UserError for less than two windows of frames."""
        return self.score_embedded(self.embed(frames), wave)

    @torch.inference_mode()
    def embed(self, frames: np.ndarray) -> Embedded:
        """Frames as in `score`: with what this gives, `score_embedded` needs no picture."""
        count = len(frames) - self._window + 1
        if count < self._window:
            raise UserError(f"sync score: {len(frames)} frames are too few, {2 * self._window} are needed")
        starts = range(0, count, self._stride)
        shown = self._small(frames)  # each frame is resized once, not once a window
        vision = []
        for first in range(0, len(starts), self._batch_size):
            chosen = starts[first : first + self._batch_size]
            windows = torch.stack([shown[start : start + self._window] for start in chosen])
            vision.append(F.normalize(self._net.visual_encoder(self._net.fold(windows)), dim=1))
        return Embedded(torch.cat(vision), np.array(starts), count)

    @torch.inference_mode()
    def score_embedded(self, embedded: Embedded, wave: np.ndarray) -> Score:
        """The score of embedded frames and their sound."""
        mel, sound = log_mel(wave), []
        for first in range(0, embedded.count, self._batch_size):
            chosen = range(first, min(embedded.count, first + self._batch_size))
            mels = np.stack([mel_window(mel, start, self._window, FPS) for start in chosen])
            windows_of_sound = torch.from_numpy(mels)[:, None].to(self._device)
            sound.append(F.normalize(self._net.audio_encoder(windows_of_sound), dim=1))
        cosines = (embedded.vision @ torch.cat(sound).T).cpu().numpy()  # (windows, F − 15)
        return best_shift(cosines, embedded.starts)

    def _small(self, frames: np.ndarray) -> Tensor:
        """(F, 3, R, R) in [-1, 1] at the SyncNet's resolution R."""
        side = self._net.config["resolution"]
        pieces = []
        for first in range(0, len(frames), self._batch_size):
            pixels = torch.from_numpy(frames[first : first + self._batch_size]).to(self._device)
            pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
            if pixels.shape[-1] != side:
                pixels = F.interpolate(pixels, size=(side, side), mode="bicubic")
            pieces.append(pixels)
        return torch.cat(pieces)
