"""LPIPS of the generated region: everything else is the reference's."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.metrics.metric import Definition, FramePair, reference_crop
from eval.metrics.mouth_region import generated_region
from eval.metrics.similarity import LpipsDistance


class RegionLpips(LpipsDistance):
    """The box around the generated region, with the reference's pixels outside of the mask."""

    option = "region_lpips"

    def __init__(
        self, net: str = "alex", weights: str | Path | None = None, device: str = "cpu", every: int = 1
    ) -> None:
        super().__init__(net, weights, device, every)
        self._name = f"region_lpips_{net}"
        self.definitions = (
            Definition(
                self._name, f"LPIPS ({net}), generated region", "", "lower",
                "perceptual distance of the box around the generated region, the rest of it the reference's",
                "Zhang et al. 2018; package lpips, version 0.1 weights", "truth",
            ),
        )  # fmt: skip

    def compared(self, pairs: Sequence[FramePair]) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
        """As of `LpipsDistance`, cut to the box."""
        true = np.stack([reference_crop(pair) for pair in pairs])
        region = generated_region(true.shape[1])
        shown = np.where(region[None, :, :, None], np.stack([pair.crop for pair in pairs]), true)
        rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
        box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        return list(shown[box]), list(true[box])
