"""LPIPS of the aligned face, by the lpips package."""

from collections.abc import Sequence
from pathlib import Path

import torch

from eval.metrics.metric import Definition, FrameMean, FramePair, Values, reference_crop, weights_file
from eval.metrics.similarity import pixels
from latentsync.errors import UserError
from latentsync.losses.perceptual import FETCH_NAMES, PerceptualLoss


class LpipsDistance:
    """net: "alex" (usual in evaluation), "vgg" (the training loss) or "squeeze"; weights: of the backbone, None = where
    `fetch` puts them; every: frames between those looked at. Raises UserError."""

    def __init__(
        self, net: str = "vgg", weights: str | Path | None = None, device: str = "cpu", every: int = 1
    ) -> None:
        if net not in FETCH_NAMES:
            raise UserError(f"options.lpips.net={net}: choose one of {', '.join(FETCH_NAMES)}")
        self._network = PerceptualLoss(net, weights_file(weights, FETCH_NAMES[net])).to(device)
        self._device, self._every = device, every
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
        one = pixels([pair.crop for pair in pairs]).to(self._device) * 2 - 1
        other = pixels([reference_crop(pair) for pair in pairs]).to(self._device) * 2 - 1
        return [{"lpips": float(distance)} for distance in self._network.distance(one, other)]
