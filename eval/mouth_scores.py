"""What a lip-synced video is scored by: the mouth read from its pixels, and the picture outside of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from latentsync.face.alignment import AlignedFace, FaceAligner, canvas_size
from latentsync.face.mouth_mask import mouth_mask
from latentsync.synthetic.mouth import measure_mouth_opening

OPEN = 0.1
"""A mouth measured wider open than this in a pause of the speech leaks."""


@dataclass(frozen=True)
class Scores:
    """driving, source: correlation (−1 … 1) of the measured opening with the truth of the driving speech, and of the
    source video. leak: share of the pause's frames with an opening above `OPEN`, None without a pause."""

    driving: float
    source: float
    leak: float | None


def align_frames(frames: Sequence[np.ndarray], landmarks3: np.ndarray, resolution: int) -> list[AlignedFace]:
    """The faces of a whole video (F images, landmarks (F, 3, 2)), aligned as inference does."""
    aligner = FaceAligner(resolution)
    return [aligner.align(frame, points) for frame, points in zip(frames, landmarks3, strict=True)]


def score_mouth(faces: Sequence[AlignedFace], driving: np.ndarray, source: np.ndarray, pause: np.ndarray) -> Scores:
    """Scores of aligned faces against the true openings (F,) and the driving speech's pauses (F,) bool."""
    opening = measure_mouth_opening(np.stack([face.crop for face in faces]))
    return Scores(
        driving=correlation(opening, driving),
        source=correlation(opening, source),
        leak=float((opening[pause] > OPEN).mean()) if pause.any() else None,
    )


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two tracks (F,); 0 when one of them does not move: a mouth that never opens follows nothing."""
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"tracks must be (F,) of one length, not {first.shape} and {second.shape}")
    if first.std() < 1e-6 or second.std() < 1e-6:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def outside_blend(shape: tuple[int, ...], matrix: np.ndarray, resolution: int) -> np.ndarray:
    """Pixels (H, W) bool of a frame of `shape` that pasting a face back cannot touch.

    matrix: (2, 3), image to canvas. One pixel of margin all round, for the interpolation.
    """
    width, height = canvas_size(resolution)
    return _reached(np.ones((height, width), np.float32), matrix, shape) == 0


def outside_mouth(shape: tuple[int, ...], matrix: np.ndarray, resolution: int) -> np.ndarray:
    """Pixels (H, W) bool of a frame of `shape` that show nothing generated: outside the mouth mask of the face."""
    generated = 1 - mouth_mask(resolution)[0].numpy()
    return _reached(cv2.resize(generated, canvas_size(resolution)), matrix, shape) == 0


def _reached(canvas: np.ndarray, matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A canvas (h, w) float32 laid into a frame, grown by one pixel."""
    back = cv2.invertAffineTransform(np.asarray(matrix, dtype=np.float64))
    laid = cv2.warpAffine(canvas, back, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)
    return cv2.dilate(laid, np.ones((3, 3), np.uint8))


def psnr(first: Sequence[np.ndarray], second: Sequence[np.ndarray], where: Sequence[np.ndarray]) -> float:
    """Peak signal-to-noise ratio in dB of two videos over the pixels `where` (F masks (H, W)); inf for equal ones.

    Raises ValueError when no pixel is asked for, or the lengths differ.
    """
    error = count = 0.0
    for one, other, mask in zip(first, second, where, strict=True):
        difference = one[mask].astype(np.float64) - other[mask]
        error += float((difference**2).sum())
        count += difference.size
    if count == 0:
        raise ValueError("psnr of no pixels")
    return float("inf") if error == 0 else float(10 * np.log10(255**2 * count / error))
