"""LPIPS of the generated region: everything else is the reference's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from eval.metrics.metric import Definition, FrameMean, FramePair, Values, reference_crop, weights_file
from eval.metrics.mouth_region import generated_region
from eval.metrics.similarity import pixels
from latentsync.errors import UserError
from latentsync.losses.perceptual import FETCH_NAMES, PerceptualLoss


class RegionLpips:
    """The box around the generated region, with the reference's pixels outside of the mask; arguments as of
    `LpipsDistance`. Raises UserError."""

    def __init__(
        self, net: str = "alex", weights: str | Path | None = None, device: str = "cpu", every: int = 1
    ) -> None:
        if net not in FETCH_NAMES:
            raise UserError(f"options.region_lpips.net={net}: choose one of {', '.join(FETCH_NAMES)}")
        self._network = PerceptualLoss(net, weights_file(weights, FETCH_NAMES[net])).to(device)
        self._name, self._device, self._every = f"region_lpips_{net}", device, every
        self.definitions: Sequence[Definition] = (
            Definition(
                self._name, f"LPIPS ({net}), generated region", "", "lower",
                "perceptual distance of the box around the generated region, the rest of it the reference's",
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
        true = np.stack([reference_crop(pair) for pair in pairs])
        region = generated_region(true.shape[1])
        shown = np.where(region[None, :, :, None], np.stack([pair.crop for pair in pairs]), true)
        rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
        box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        one, other = (pixels(list(frames[box])).to(self._device) * 2 - 1 for frames in (shown, true))
        return [{self._name: float(distance)} for distance in self._network.distance(one, other)]
