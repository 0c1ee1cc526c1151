"""FVD of faces, by two protocols: the usual one, and the one that LatentSync's figures come from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from eval.metrics.i3d import load_i3d
from eval.metrics.metric import Definition, FramePair, Heard, NotComputed, weights_file
from latentsync.errors import UserError
from latentsync.face.detector import BoxDetector
from latentsync.face.head_box import head_box, square_crop

FRAMES, SIDE = 16, 224
PROTOCOLS = ("standard", "published")
_PUBLISHED_FIRST = 20
_SOURCE = "Unterthiner et al. 2018; logits of I3D RGB, Kinetics-400 (DeepMind's release, as pytorch-i3d converted it)"
_NOTE = (
    "features are the logits of DeepMind's I3D RGB, Kinetics-400 (rgb_imagenet.pt); published LatentSync figures are "
    "those of i3d_torchscript.pt: the two cannot be compared"
)

Features = Callable[[np.ndarray], np.ndarray]


class FaceFvd:
    """weights: I3D, None = where `fetch i3d` puts it. Raises UserError for missing weights.

    protocol "standard": pixels in [-1, 1], as I3D was trained; a square around the head that stands still for the 16
    frames and is the reference's, so that generated and true clips are framed alike; clips from frame `first` on, one
    every `every` frames. "published", as LatentSync's evaluation does it: pixels in [0, 1]; each frame the box of
    MediaPipe's face detector, stretched to 224² by area; frames 20 to 35 of each video, whatever first and every are.
    Both are FVD, and neither can be compared with the other.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        first: int = 0,
        every: int = 64,
        device: str = "cpu",
        protocol: str = "standard",
    ) -> None:
        if protocol not in PROTOCOLS:
            raise UserError(f"options.fvd.protocol={protocol}: choose one of {', '.join(PROTOCOLS)}")
        if first < 0 or every < FRAMES:
            raise UserError(f"options.fvd: first from 0, every from {FRAMES}")
        self._network = load_i3d(weights_file(weights, "i3d"), device)
        self._first, self._every, self._device = first, every, device
        self._detector = BoxDetector(weights_file(None, "face-landmarker")) if protocol == "published" else None
        framing = (
            f"detector's box stretched to {SIDE}², pixels in [0, 1], frames 20 to 35"
            if self._detector
            else f"square around the head, pixels in [-1, 1], from frame {first} on every {every} frames"
        )
        self.definitions: Sequence[Definition] = (
            Definition(
                "fvd", f"FVD ({protocol}, I3D K400 RGB)", "", "lower",
                f"Fréchet distance of I3D's logits of 16-frame clips of faces to the references'; {framing}", _SOURCE,
                "source", 2, of_set=True, note=_NOTE,
            ),
        )  # fmt: skip

    def begin(self) -> "_StandardClips | _PublishedClip":
        if self._detector is not None:
            return _PublishedClip(self._detector, self._features)
        return _StandardClips(self._first, self._every, self._features)

    @torch.inference_mode()
    def _features(self, clip: np.ndarray) -> np.ndarray:
        """A clip (16, 224, 224, 3) uint8 to logits (1, 400)."""
        pixels = torch.from_numpy(clip).to(self._device).permute(3, 0, 1, 2)[None].float() / 255  # (1, 3, 16, 224, 224)
        return self._network(pixels if self._detector else 2 * pixels - 1).cpu().numpy()


class _StandardClips:
    def __init__(self, first: int, every: int, features: Features) -> None:
        self._first, self._every, self._features = first, every, features
        self._frames: list[tuple[np.ndarray, np.ndarray]] = []  # picture, box
        self._next = first
        self._found: list[np.ndarray] = []

    def add(self, pair: FramePair) -> None:
        face = pair.reference_face or pair.face
        if pair.index < self._first or (pair.index - self._first) % self._every >= FRAMES or face is None:
            return
        if pair.index != self._next:  # a gap, or another clip
            self._frames = []
        self._next = pair.index + 1
        self._frames.append((pair.image, head_box(face)))
        if len(self._frames) == FRAMES:
            x, y, half = np.median([box for _, box in self._frames], axis=0)
            clip = [square_crop(image, x - half, y - half, 2 * half, SIDE) for image, _ in self._frames]
            self._found.append(self._features(np.stack(clip)))
            self._frames = []

    def values(self, heard: Heard) -> dict[str, Any]:
        if not self._found:
            raise NotComputed(f"no {FRAMES} frames in a row with a face from frame {self._first} on")
        return {"fvd": np.concatenate(self._found)}


class _PublishedClip:
    def __init__(self, detector: BoxDetector, features: Features) -> None:
        self._detector, self._features = detector, features
        self._frames: list[np.ndarray] = []

    def add(self, pair: FramePair) -> None:
        if not _PUBLISHED_FIRST <= pair.index < _PUBLISHED_FIRST + FRAMES:
            return
        box = self._detector.first_box(pair.image)
        if box is not None:
            left, top, right, bottom = box
            face = pair.image[top:bottom, left:right]
            self._frames.append(cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA))

    def values(self, heard: Heard) -> dict[str, Any]:
        if len(self._frames) < FRAMES:
            raise NotComputed(
                f"needs a face in each of the frames {_PUBLISHED_FIRST} to {_PUBLISHED_FIRST + FRAMES - 1}"
            )
        return {"fvd": self._features(np.stack(self._frames))}
