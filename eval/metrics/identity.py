"""CSIM: does the generated face still look like the same person? By MobileFaceNet, or OpenCV's SFace."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from eval.metrics.metric import Definition, FrameMean, FramePair, NotComputed, Values, weights_file
from eval.metrics.mouth_landmarks import mesh
from latentsync.errors import UserError
from latentsync.face.embedding import FaceEmbedder, cosine, upright

NETWORKS = {
    "mobilefacenet": ("MobileFaceNet", "Chen et al. 2018 (MobileFaceNet)"),
    "sface": ("SFace", "Zhong et al. 2021 (SFace), OpenCV's FaceRecognizerSF"),
}


class IdentitySimilarity:
    """Cosine of face embeddings. network: "mobilefacenet" or "sface"; weights: its file, None = where `fetch NETWORK`
    puts it; every: frames between those looked at. Raises UserError."""

    def __init__(self, weights: str | Path | None = None, every: int = 5, network: str = "mobilefacenet") -> None:
        if network not in NETWORKS:
            raise UserError(f"options.csim.network={network}: choose one of {', '.join(NETWORKS)}")
        title, source = NETWORKS[network]
        self.definitions: Sequence[Definition] = (
            Definition(
                "csim", f"CSIM ({title})", "", "higher",
                f"cosine of {title} embeddings of generated and reference face, mean",
                f"{source}; papers use ArcFace: compare within one tool", "source",
            ),
        )  # fmt: skip
        path = weights_file(weights, network)
        self._embed = FaceEmbedder(path) if network == "mobilefacenet" else sface(path)
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
            one = self._embed(pair.image, mesh(pair.face))
            other = self._embed(pair.reference_image, mesh(pair.reference_face))
            scores.append({"csim": cosine(one, other)})
        return scores


def sface(path: Path) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The same by OpenCV's SFace, which takes BGR. Raises UserError."""
    try:
        network = cv2.FaceRecognizerSF.create(str(path), "")
    except cv2.error as error:
        raise UserError(f"options.csim.weights '{path}': OpenCV cannot read it ({error.err})") from error
    return lambda image, points: network.feature(np.ascontiguousarray(upright(image, points)[..., ::-1]))
