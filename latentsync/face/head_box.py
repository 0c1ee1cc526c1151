"""The square around a head that SyncNet v2 and FVD look at: a face detector's box, steady over time, cut out.

Published crops are made from the boxes of a face detector, S3FD. Ours come from landmarks, so they are calibrated: the
factors below bring them to the boxes of a detector trained on the same data, WIDER FACE (CenterFace), the median of 20
real clips of 1,500 frames. Single clips differ from it by 4 % in size, and by 3 % of half a box in place. None of the
landmarks is on the jaw, the lips or the chin: with the mouth's opening the crop moves by 0.1 of SyncNet's 224 pixels.
"""

from collections import deque
from typing import Generic, TypeVar

import cv2
import numpy as np

from latentsync.face.landmarks import Face

MEDIAN_FRAMES = 13  # as published; half a second
# MediaPipe's mesh: top middle, below the nose, outer corners of the eyes, before the ears.
_FOREHEAD, _NOSE_BASE, _EYES, _TEMPLES = 10, 2, (33, 263), (234, 454)
_HALF = 0.906  # half the box's longer side, in distances of forehead and nose's base …
_TEMPLE_SHARE = 0.73  # … or in these parts of the distance of the temples: whichever a turn of the head shortens less
_UP = 0.018  # from the middle of eyes and nose's base to the box's centre, in half sides, towards the forehead
_HALF_OF_BROWS, _BELOW_BROWS = 1.223, 0.526  # the same of three points alone, in distances of the brows' centres

# The crop that SyncNet v2 was made for (Chung and Zisserman's run_pipeline): as wide as the box and 0.4 of its half on
# either side, from its top to 0.8 of its half below.
_MARGIN = 0.4
_BORDER = (110, 110, 110)
_ROOM = 1.2  # sides of the surroundings, in sides of that crop

Item = TypeVar("Item")


def head_box(face: Face) -> np.ndarray:
    """(x, y, half side) of the square box, in pixels of the image."""
    if face.mesh is None:
        left, right, nose = face.landmarks3
        across = right - left
        down = np.array([-across[1], across[0]])
        down = down if down @ (nose - left) >= 0 else -down
        x, y = (left + right) / 2 + _BELOW_BROWS * down
        return np.array([x, y, _HALF_OF_BROWS * np.linalg.norm(across)])
    forehead, base = face.mesh[[_FOREHEAD, _NOSE_BASE]]
    eyes, temples = face.mesh[list(_EYES)], face.mesh[list(_TEMPLES)]
    height, width = float(np.linalg.norm(forehead - base)), float(np.linalg.norm(temples[1] - temples[0]))
    half = _HALF * max(height, _TEMPLE_SHARE * width)
    middle = (eyes.mean(axis=0) + base) / 2
    x, y = middle + _UP * half * (forehead - base) / max(height, 1e-9)
    return np.array([x, y, half])


class SteadyBoxes(Generic[Item]):
    """Boxes of consecutive frames, each the median over 13 frames, as published; what belongs to a frame is handed
    through, 6 frames late. The first and the last box stand for those beyond them."""

    def __init__(self) -> None:
        self._boxes: deque[np.ndarray] = deque(maxlen=MEDIAN_FRAMES)
        self._waiting: deque[Item] = deque()

    def push(self, item: Item, box: np.ndarray) -> list[tuple[Item, np.ndarray]]:
        """Take the next frame's; give those that are decided by now."""
        if not self._boxes:
            self._boxes.extend([box] * (MEDIAN_FRAMES // 2))
        self._boxes.append(box)
        self._waiting.append(item)
        return [self._decide()] if len(self._waiting) > MEDIAN_FRAMES // 2 else []

    def end(self) -> list[tuple[Item, np.ndarray]]:
        """Those that are left; the next frame begins anew."""
        decided = []
        if self._waiting:
            last = self._boxes[-1]
            self._boxes.extend([last] * (MEDIAN_FRAMES // 2 + 1 - len(self._waiting)))
            while self._waiting:
                decided.append(self._decide())
                self._boxes.append(last)
        self._boxes.clear()
        return decided

    def _decide(self) -> tuple[Item, np.ndarray]:
        return self._waiting.popleft(), np.median(np.stack(self._boxes), axis=0)


def syncnet_crop(image: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """What SyncNet v2 sees of a head, (size, size, 3) uint8 RGB, of an image (H, W, 3); grey beyond the picture."""
    left, top, side = _syncnet_square(box)
    return square_crop(image, left, top, side, size)


def surroundings(box: np.ndarray) -> tuple[float, float, float]:
    """(left, top, side) of a square that holds the SyncNet crop with room for boxes that are found anew in it."""
    left, top, side = _syncnet_square(box)
    more = (_ROOM - 1) / 2 * side
    return left - more, top - more, _ROOM * side


def _syncnet_square(box: np.ndarray) -> tuple[float, float, float]:
    x, y, half = (float(value) for value in box)
    return x - half * (1 + _MARGIN), y - half, 2 * half * (1 + _MARGIN)


def square_crop(image: np.ndarray, left: float, top: float, side: float, size: int) -> np.ndarray:
    """A square of an image (H, W, 3) uint8 RGB as (size, size, 3); what lies outside the picture is grey."""
    scale = size / side
    # Through a picture of the crop's own size, reduced by areas: sampling points alone would flicker.
    if scale < 1:
        matrix = np.array([[1.0, 0, -left], [0, 1.0, -top]])
        whole = cv2.warpAffine(image, matrix, (round(side), round(side)), borderValue=_BORDER)
        return cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    return cv2.warpAffine(image, matrix, (size, size), borderValue=_BORDER)
