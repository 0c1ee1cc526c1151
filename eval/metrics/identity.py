"""CSIM: does the generated face still look like the same person? By OpenCV's SFace."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from eval.metrics.metric import Definition, FrameMean, FramePair, NotComputed, Values, weights_file
from eval.metrics.mouth_landmarks import mesh
from latentsync.errors import UserError

_SIDE = 112
# Where face recognition networks (ArcFace's template, which SFace uses) want both eyes, nose and mouth corners.
_TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_EYES = ((33, 133), (362, 263))
_NOSE, _MOUTH = 4, (61, 291)


class IdentitySimilarity:
    """Cosine of face embeddings. weights: `face_recognition_sface_2021dec.onnx`, None = where `fetch sface` puts it;
    every: frames between those looked at. Raises UserError."""

    definitions: Sequence[Definition] = (
        Definition(
            "csim", "CSIM", "", "higher", "cosine of SFace embeddings of generated and reference face, mean",
            "Zhong et al. 2021 (SFace), OpenCV's FaceRecognizerSF; papers use ArcFace: compare within one tool",
            "source",
        ),
    )  # fmt: skip

    def __init__(self, weights: str | Path | None = None, every: int = 5) -> None:
        path = weights_file(weights, "sface")
        try:
            self._network = cv2.FaceRecognizerSF.create(str(path), "")
        except cv2.error as error:
            raise UserError(f"options.csim.weights '{path}': OpenCV cannot read it ({error.err})") from error
        self._every = every

    def begin(self) -> FrameMean:
        return FrameMean(self._score)

    def _score(self, pairs: list[FramePair]) -> list[Values]:
        scores = []
        for pair in pairs:
            if pair.reference_image is None:
                raise NotComputed("no reference video")
            if pair.index % self._every or pair.face is None or pair.reference_face is None:
                continue
            one = self._network.feature(upright(pair.image, mesh(pair.face)))
            other = self._network.feature(upright(pair.reference_image, mesh(pair.reference_face)))
            scores.append({"csim": cosine(one, other)})
        return scores


def upright(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face of an image (H, W, 3) uint8 RGB as recognition wants it: (112, 112, 3) BGR. points: mesh (478, 2)."""
    eyes = [points[list(corners)].mean(axis=0) for corners in _EYES]
    five = np.stack([*eyes, points[_NOSE], *points[list(_MOUTH)]])
    matrix, _ = cv2.estimateAffinePartial2D(five, _TEMPLATE, method=cv2.LMEDS)
    return np.ascontiguousarray(cv2.warpAffine(image, matrix, (_SIDE, _SIDE))[..., ::-1])


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Of two vectors of any shape."""
    first, second = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    return float(first @ second / max(1e-12, float(np.linalg.norm(first) * np.linalg.norm(second))))
