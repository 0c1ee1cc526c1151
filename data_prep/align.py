"""Stage align: the face cut out of each frame of a track, upright and of one size, as training wants it."""

import cv2
import numpy as np

from data_prep.candidate import FaceFrame, FaceLook
from data_prep.face_tracks import TrackFrame
from data_prep.manifest import Row
from latentsync.face.alignment import FaceAligner, canvas_size
from latentsync.face.landmarks import Face

# The crop that SyncNet v2 was made for (Chung and Zisserman's run_pipeline): a square around the box's centre, its
# half side half the box's longer side, a share of that more on the left and right, and twice the share below.
_BOX_MARGIN = 0.4
_BOX_BORDER = 110


class TrackAligner:
    """Aligns the faces of one track. resolution: R of the crops; box_size: S of the crops around the face's box that a
    sync scorer wants beside them, 0 = none."""

    def __init__(self, resolution: int, box_size: int = 0) -> None:
        self._aligner, self._resolution, self._box_size = FaceAligner(resolution), resolution, box_size

    def align(self, tracked: TrackFrame, look: FaceLook) -> FaceFrame:
        """One frame. Raises ValueError for landmarks that coincide."""
        frame, face = tracked.frame, tracked.face
        aligned = self._aligner.align(frame.image, face.landmarks3)
        scale = float(np.sqrt(abs(np.linalg.det(aligned.matrix[:, :2].astype(np.float64)))))
        return FaceFrame(
            index=frame.index,
            number=frame.number,
            time=frame.time,
            face=face,
            found=tracked.found,
            look=look,
            crop=aligned.crop,
            scale=scale,
            outside=_outside(aligned.matrix, self._resolution, frame.image.shape[1], frame.image.shape[0]),
            box_crop=box_crop(frame.image, face, self._box_size) if self._box_size else None,
        )


def measure_alignment(frames: list[FaceFrame]) -> Row:
    """align_… of a candidate."""
    return {
        "align_scale": round(float(np.median([frame.scale for frame in frames])), 3),
        "align_outside": round(max(frame.outside for frame in frames), 4),
    }


def box_crop(image: np.ndarray, face: Face, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB around the face's box; what lies outside the picture is grey."""
    half = max(face.width, face.height) / 2
    side = 2 * half * (1 + _BOX_MARGIN)
    left = (face.box[0] + face.box[2]) / 2 - half * (1 + _BOX_MARGIN)
    top = (face.box[1] + face.box[3]) / 2 - half
    scale = size / side
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    border = (_BOX_BORDER, _BOX_BORDER, _BOX_BORDER)
    # Through a picture of the crop's own size, reduced by areas: sampling points alone would flicker.
    if scale < 1:
        whole = cv2.warpAffine(
            image, np.array([[1.0, 0, -left], [0, 1.0, -top]]), (round(side), round(side)), borderValue=border
        )
        return cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.warpAffine(image, matrix, (size, size), borderValue=border)


def _outside(matrix: np.ndarray, resolution: int, width: int, height: int) -> float:
    """Share of the crop that shows no picture, counted on a coarse grid."""
    canvas = canvas_size(resolution)
    columns, rows = (np.linspace(0, size - 1, 12) for size in canvas)
    points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    back = cv2.invertAffineTransform(matrix.astype(np.float64))
    x, y = (points @ back[:, :2].T + back[:, 2]).T
    return float(1 - ((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)).mean())
