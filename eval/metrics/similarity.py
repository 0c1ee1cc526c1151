"""SSIM and PSNR of the aligned face, by torchmetrics, and its LPIPS, by the lpips package."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from eval.metrics.metric import Definition, FrameMean, FramePair, Values, reference_crop, weights_file
from latentsync.errors import UserError
from latentsync.losses.perceptual import FETCH_NAMES, PerceptualLoss

_FACE = "aligned face, mean over frames"


class Similarity:
    """Full-reference similarity of the aligned crops; see `definitions`."""

    definitions: Sequence[Definition] = (
        Definition(
            "ssim", "SSIM", "", "higher", f"structural similarity, {_FACE}", "Wang et al. 2004; torchmetrics", "truth"
        ),
        Definition(
            "psnr", "PSNR", "dB", "higher", f"peak signal-to-noise ratio, {_FACE}; equal frames count as 100 dB",
            "torchmetrics", "truth", decimals=2,
        ),
    )  # fmt: skip

    def begin(self) -> FrameMean:
        return FrameMean(_similarity)


class LpipsDistance:
    """net: "alex" (usual in evaluation), "vgg" (the training loss) or "squeeze"; weights: of the backbone, None = where
    `fetch` puts them; every: frames between those looked at. Raises UserError."""

    option = "lpips"  # under which its arguments are given

    def __init__(
        self, net: str = "vgg", weights: str | Path | None = None, device: str = "cpu", every: int = 1
    ) -> None:
        if net not in FETCH_NAMES:
            raise UserError(f"options.{self.option}.net={net}: choose one of {', '.join(FETCH_NAMES)}")
        self._network = PerceptualLoss(net, weights_file(weights, FETCH_NAMES[net])).to(device)
        self._name, self._device, self._every = "lpips", device, every
        frames = "all frames" if every == 1 else f"each frame whose number is a multiple of {every}"
        self.definitions: Sequence[Definition] = (
            Definition(
                "lpips", f"LPIPS ({net})", "", "lower", f"perceptual distance of aligned faces, mean over {frames}",
                "Zhang et al. 2018; package lpips, version 0.1 weights", "truth",
            ),
        )  # fmt: skip

    def begin(self) -> FrameMean:
        return FrameMean(self._score)

    @torch.inference_mode()
    def _score(self, pairs: list[FramePair]) -> list[Values]:
        pairs = [pair for pair in pairs if pair.index % self._every == 0]
        if not pairs:
            return []
        one, other = (pixels(list(pictures)).to(self._device) * 2 - 1 for pictures in self.compared(pairs))
        return [{self._name: float(distance)} for distance in self._network.distance(one, other)]

    def compared(self, pairs: Sequence[FramePair]) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
        """The pictures (h, w, 3) uint8 RGB that the network looks at: generated ones, and the reference's."""
        return [pair.crop for pair in pairs], [reference_crop(pair) for pair in pairs]


def _similarity(pairs: list[FramePair]) -> list[Values]:
    one = pixels([pair.crop for pair in pairs])
    other = pixels([reference_crop(pair) for pair in pairs])
    ssim = structural_similarity_index_measure(one, other, data_range=1.0, reduction="none")
    psnr = peak_signal_noise_ratio(one, other, data_range=1.0, reduction="none", dim=(1, 2, 3))
    assert isinstance(ssim, Tensor)
    return [
        {"ssim": float(structure), "psnr": min(100.0, float(noise))}
        for structure, noise in zip(ssim.flatten(), psnr.flatten())
    ]


def pixels(crops: Sequence[np.ndarray]) -> Tensor:
    """Crops (R, R, 3) uint8 as (N, 3, R, R) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
