"""An aligned face back into its frame, with a soft edge (as published)."""

import cv2
import numpy as np
from PIL import Image

from latentsync.face.alignment import canvas_size

_OUTSIDE = (127, 127, 127)
# The edge of a warped canvas mixes with what is outside: these pixels are never used.
_EDGE_PIXELS = 2
# The soft edge is a twentieth of the face's size.
_EDGE_SHARE = 20


def paste_back(
    frame: np.ndarray,
    face: np.ndarray,
    matrix: np.ndarray,
    share: np.ndarray | None = None,
    corner: tuple[int, int] = (0, 0),
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Put a face where `FaceAligner.align` took it from.

    frame: (H, W, 3) uint8 RGB; face: (R, R, 3) uint8 RGB; matrix: (2, 3), image to canvas. Returns a new frame; a
    pixel that the blend does not reach is exactly the input's. The weight is the warped canvas, eroded by 2 pixels
    and by 2·w, then blurred by a Gaussian of 2·w + 1 pixels, w = √area / 20. share: (R, R) float32 in [0, 1], the part
    of each pixel that is taken from the face, on top of that weight, e.g. `mouth_mask.mouth_share`; None = all of it,
    as published.
    corner, size: where `frame` is a part of a picture, (top, left) of its first pixel and the picture's (height,
    width); it must hold the picture's `paste_box`.
    """
    if face.ndim != 3 or face.shape[0] != face.shape[1]:
        raise ValueError(f"face must be (R, R, 3), not {face.shape}")
    result = frame.copy()
    width, height = canvas_size(face.shape[0])
    box = paste_box(matrix, face.shape[0], size or frame.shape[:2])
    if box is None:
        return result
    top, bottom, left, right = box
    extent = (right - left, bottom - top)

    # Canvas to window: the inverse matrix, shifted so that (left, top) is the origin.
    back = cv2.invertAffineTransform(np.asarray(matrix, dtype=np.float64))
    back[:, 2] -= (left, top)
    # Pillow's bicubic widens its kernel when it shrinks (the crop's width does): no aliasing.
    canvas = np.asarray(Image.fromarray(face).resize((width, height), Image.Resampling.BICUBIC))
    pasted = cv2.warpAffine(canvas, back, extent, flags=cv2.INTER_LINEAR, borderValue=_OUTSIDE)
    inside = cv2.warpAffine(np.ones((height, width), np.float32), back, extent, flags=cv2.INTER_LINEAR)

    weight = _blend_weight(inside)[..., None]
    if share is not None:
        on_canvas = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
        weight *= cv2.warpAffine(on_canvas, back, extent, flags=cv2.INTER_LINEAR)[..., None]
    target = result[top - corner[0] : bottom - corner[0], left - corner[1] : right - corner[1]]
    target[:] = np.rint(target + weight * (pasted.astype(np.float32) - target))
    return result


def _blend_weight(inside: np.ndarray) -> np.ndarray:
    """From how far the warped canvas covers each pixel to the face's share of it, both (h, w) float32 in [0, 1]."""
    hard = cv2.erode(inside, np.ones((_EDGE_PIXELS, _EDGE_PIXELS), np.uint8))
    edge = int(float(hard.sum()) ** 0.5) // _EDGE_SHARE
    if edge == 0:
        return hard
    centre = cv2.erode(hard, np.ones((2 * edge, 2 * edge), np.uint8))
    blur = 2 * edge + 1
    # Times `hard`: kernels of even size are not centred, and the blur reaches a pixel beyond the canvas on one side.
    return hard * cv2.GaussianBlur(centre, (blur, blur), 0)


def paste_box(matrix: np.ndarray, resolution: int, size: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """(top, bottom, left, right) of what `paste_back` can touch in a picture of size (height, width), one pixel wider;
    None if there is nothing. matrix: image to canvas; resolution: side R of the face."""
    width, height = canvas_size(resolution)
    back = cv2.invertAffineTransform(np.asarray(matrix, dtype=np.float64))
    corners = np.array([[-1, -1], [width, -1], [-1, height], [width, height]], dtype=np.float64)
    points = corners @ back[:, :2].T + back[:, 2]
    left, top = np.floor(points.min(axis=0)).astype(int) - 1
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + 2
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, size[1]), min(bottom, size[0])
    return (int(top), int(bottom), int(left), int(right)) if left < right and top < bottom else None
