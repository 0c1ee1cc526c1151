"""SSIM and PSNR of the aligned face, by torchmetrics."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from eval.metrics.metric import Definition, FrameMean, FramePair, Values, reference_crop

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
        return FrameMean(_score)


def _score(pairs: list[FramePair]) -> list[Values]:
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
