"""Stage align: the face cut out of each frame of a track, upright and of one size, as training wants it."""

from dataclasses import replace

import cv2
import numpy as np

from data_prep.candidate import FaceFrame, FaceLook
from data_prep.face_tracks import TrackFrame
from data_prep.manifest import Row
from latentsync.face.alignment import FaceAligner, canvas_size
from latentsync.face.head_box import SteadyBoxes, head_box, square_crop, surroundings, syncnet_crop


class TrackAligner:
    """Aligns the faces of one track. resolution: R of the crops; box_size: S of the crops around the head that a sync
    scorer wants beside them; context: S of those with the head's surroundings; 0 = none. Those make it late: their
    boxes are medians over frames, see `head_box`."""

    def __init__(self, resolution: int, box_size: int = 0, context: int = 0) -> None:
        self.seen = 0
        self._aligner, self._resolution, self._box_size = FaceAligner(resolution), resolution, box_size
        self._context = context
        self._boxes: SteadyBoxes[tuple[FaceFrame, np.ndarray]] = SteadyBoxes()

    def push(self, tracked: TrackFrame, look: FaceLook) -> list[FaceFrame]:
        """Take the next frame; give those that are ready. Raises ValueError for landmarks that coincide."""
        self.seen += 1
        aligned = self._align(tracked, look)
        if not self._box_size and not self._context:
            return [aligned]
        return self._ready(self._boxes.push((aligned, tracked.frame.image), head_box(tracked.face)))

    def end(self) -> list[FaceFrame]:
        """The frames that are left at the end of the track."""
        return self._ready(self._boxes.end())

    def _ready(self, decided: list[tuple[tuple[FaceFrame, np.ndarray], np.ndarray]]) -> list[FaceFrame]:
        ready = []
        for (frame, image), box in decided:
            seen = syncnet_crop(image, box, self._box_size) if self._box_size else None
            context = square_crop(image, *surroundings(box), self._context) if self._context else None
            ready.append(replace(frame, box_crop=seen, context=context))
        return ready

    def _align(self, tracked: TrackFrame, look: FaceLook) -> FaceFrame:
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
        )


def measure_alignment(frames: list[FaceFrame]) -> Row:
    """align_… of a candidate."""
    return {
        "align_scale": round(float(np.median([frame.scale for frame in frames])), 3),
        "align_outside": round(max(frame.outside for frame in frames), 4),
    }


def _outside(matrix: np.ndarray, resolution: int, width: int, height: int) -> float:
    """Share of the crop that shows no picture, counted on a coarse grid."""
    canvas = canvas_size(resolution)
    columns, rows = (np.linspace(0, size - 1, 12) for size in canvas)
    points = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    back = cv2.invertAffineTransform(matrix.astype(np.float64))
    x, y = (points @ back[:, :2].T + back[:, 2]).T
    return float(1 - ((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)).mean())
