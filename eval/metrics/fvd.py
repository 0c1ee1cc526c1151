"""FVD of faces: 16 frames each, I3D's logits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from data_prep.align import box_crop
from eval.metrics.i3d import load_i3d
from eval.metrics.metric import Definition, FramePair, Heard, NotComputed, weights_file

FRAMES, SIDE = 16, 224


class FaceFvd:
    """weights: I3D, None = where `fetch i3d` puts it; first, every: number of the first frame of the first clip, and
    frames between the beginnings of clips (published: one clip, frames 20–35). Raises UserError for missing weights.

    Faces are cut by the box of the reference, so that generated and true clips are framed alike.
    """

    definitions: Sequence[Definition] = (
        Definition(
            "fvd", "FVD", "", "lower", "Fréchet distance of I3D logits of 16-frame face clips to the references'",
            "Unterthiner et al. 2018; I3D RGB, Kinetics-400; clips as in the LatentSync protocol",
            "source", 2, of_set=True,
        ),
    )  # fmt: skip

    def __init__(
        self, weights: str | Path | None = None, first: int = 20, every: int = 64, device: str = "cpu"
    ) -> None:
        self._network = load_i3d(weights_file(weights, "i3d"), device)
        self._first, self._every, self._device = first, max(FRAMES, every), device

    def begin(self) -> "_Clips":
        return _Clips(self._first, self._every, self._features)

    @torch.inference_mode()
    def _features(self, clip: np.ndarray) -> np.ndarray:
        """A clip (16, 224, 224, 3) uint8 to logits (1, 400)."""
        pixels = torch.from_numpy(clip).to(self._device).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
        return self._network(pixels).cpu().numpy()


class _Clips:
    def __init__(self, first: int, every: int, features: Any) -> None:
        self._first, self._every, self._features = first, every, features
        self._frames: list[np.ndarray] = []
        self._next = first
        self._found: list[np.ndarray] = []

    def add(self, pair: FramePair) -> None:
        if (pair.index - self._first) % self._every >= FRAMES or pair.index < self._first:
            return
        if pair.index != self._next:  # a gap, or another clip
            self._frames = []
        self._next = pair.index + 1
        face = pair.reference_face or pair.face
        self._frames.append(cv2.resize(pair.crop, (SIDE, SIDE)) if face is None else box_crop(pair.image, face, SIDE))
        if len(self._frames) == FRAMES:
            self._found.append(self._features(np.stack(self._frames)))
            self._frames = []

    def values(self, heard: Heard) -> dict[str, Any]:
        if not self._found:
            raise NotComputed(f"no {FRAMES} frames in a row with a face from frame {self._first} on")
        return {"fvd": np.concatenate(self._found)}
