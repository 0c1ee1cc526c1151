"""LMD: how far the lips' landmarks are from those of the truth."""

from collections.abc import Sequence

import numpy as np

from eval.metrics.metric import Definition, FrameMean, FramePair, NotComputed, Values, reference_crop
from latentsync.face.landmarks import Face

# MediaPipe's face mesh: the outer and the inner edge of the lips.
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)  # fmt: skip
_FOREHEAD, _CHIN = 10, 152
_HUNDRED = 100.0


class MouthLandmarks:
    """Landmark distance; both meshes are moved so that the lips' centres meet, as in the usual definition.

    Papers measure with different landmark finders and scales; compare only figures of one tool.
    """

    definitions: Sequence[Definition] = (
        Definition(
            "lmd", "LMD", "% of face height", "lower",
            "distance of the 40 lip landmarks (MediaPipe) from the truth's, lips' centres brought together, mean",
            "Chen et al. 2018 (landmark distance), normalised by the face's height", "truth", decimals=2,
        ),
        Definition("lmd_raw", "LMD raw", "px", "lower", "the same in pixels", "Chen et al. 2018", "truth", 2),
    )  # fmt: skip

    def begin(self) -> FrameMean:
        return FrameMean(_score)


def _score(pairs: list[FramePair]) -> list[Values]:
    scores = []
    for pair in pairs:
        reference_crop(pair)  # there must be a reference
        if pair.face is None or pair.reference_face is None:
            continue
        one, other = mesh(pair.face), mesh(pair.reference_face)
        apart = distance(one, other)
        height = float(np.linalg.norm(other[_FOREHEAD] - other[_CHIN]))
        scores.append({"lmd": _HUNDRED * apart / height, "lmd_raw": apart})
    return scores


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance in pixels of the lip points of two meshes (478, 2), less that of their centres."""
    first, second = one[list(LIPS)], other[list(LIPS)]
    return float(np.linalg.norm((first - first.mean(0)) - (second - second.mean(0)), axis=1).mean())


def mesh(face: Face) -> np.ndarray:
    """Raises NotComputed for faces given by three points alone."""
    if face.mesh is None:
        raise NotComputed("needs a face mesh: finder=mediapipe")
    return face.mesh
