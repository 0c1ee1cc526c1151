"""Hard cuts in a stream of pictures."""

import cv2
import numpy as np

_SIZE = (64, 36)
_SMALLEST_CHANGE = 22.0  # mean levels of 255; PySceneDetect's content detector asks for 27 in HSV
_TIMES_THE_USUAL = 4.0
_MEMORY = 0.85


class CutDetector:
    """Tells whether a picture begins another scene: it differs from the one before much more than usual."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._usual = 0.0

    def __call__(self, image: np.ndarray) -> bool:
        """image: (H, W, 3) uint8 RGB, the next one shown. The first picture of all is no cut."""
        # Every n-th pixel is enough, and a mean over all of a 4K picture would cost as much as the rest.
        step = max(1, min(image.shape[0] // 144, image.shape[1] // 256))
        small = cv2.resize(image[::step, ::step], _SIZE, interpolation=cv2.INTER_AREA).astype(np.int16)
        if self._last is None:
            self._last = small
            return False
        change = float(np.abs(small - self._last).mean())
        self._last = small
        if change > max(_SMALLEST_CHANGE, _TIMES_THE_USUAL * self._usual):
            return True
        self._usual = _MEMORY * self._usual + (1 - _MEMORY) * change
        return False
