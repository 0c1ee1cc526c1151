"""FID of aligned faces, with torch-fidelity's Inception."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from eval.metrics.metric import Definition, FramePair, Heard, NotComputed, weights_file
from latentsync.errors import UserError
from latentsync.weights.adapter import load_file

FEATURES = 2048
_BATCH = 16


class FaceFid:
    """weights: torch-fidelity's `weights-inception-2015-12-05-6726825d.pth`, None = where `fetch inception-fid` puts
    it; every: frames between those looked at. Raises UserError when the file is missing."""

    definitions: Sequence[Definition] = (
        Definition(
            "fid", "FID", "", "lower", "Fréchet distance of Inception features of aligned faces to the references'",
            "Heusel et al. 2017; torch-fidelity's Inception", "source", 2, of_set=True,
        ),
    )  # fmt: skip

    def __init__(self, weights: str | Path | None = None, every: int = 5, device: str = "cpu") -> None:
        self._network = load_inception(weights_file(weights, "inception-fid")).to(device).eval()
        self._every, self._device = every, device

    def begin(self) -> "FeatureFrames":
        return FeatureFrames("fid", self._every, self._features)

    @torch.inference_mode()
    def _features(self, crops: np.ndarray) -> np.ndarray:
        """Crops (n, R, R, 3) uint8 to features (n, 2048)."""
        (found,) = self._network(torch.from_numpy(crops).permute(0, 3, 1, 2).to(self._device))
        return found.cpu().numpy()


def load_inception(path: Path) -> Any:
    """torch-fidelity's Inception with the weights of a file, giving features (n, 2048). Raises UserError."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = load_file(path)
    with TemporaryDirectory() as folder:
        # The constructor unpickles whatever it is given; so it gets a file of our own making.
        own = Path(folder) / "weights.pth"
        torch.save(state, own)
        try:
            return FeatureExtractorInceptionV3("fid", [str(FEATURES)], feature_extractor_weights_path=str(own))
        except RuntimeError as error:
            raise UserError(f"weights '{path}': not those of torch-fidelity's Inception") from error


class FeatureFrames:
    """A measurement that keeps features (n, D) of every so-manyth crop."""

    def __init__(self, name: str, every: int, features: Any) -> None:
        self._name, self._every, self._features = name, every, features
        self._crops: list[np.ndarray] = []
        self._found: list[np.ndarray] = []

    def add(self, pair: FramePair) -> None:
        if pair.index % self._every == 0:
            self._crops.append(pair.crop)
            if len(self._crops) == _BATCH:
                self._flush()

    def values(self, heard: Heard) -> dict[str, Any]:
        self._flush()
        if not self._found:
            raise NotComputed("no frame with a face")
        return {self._name: np.concatenate(self._found)}

    def _flush(self) -> None:
        if self._crops:
            self._found.append(self._features(np.stack(self._crops)))
            self._crops = []
