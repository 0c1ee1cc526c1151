"""MediaPipe's short-range face detector, out of the landmarker's file: boxes alone."""

import weakref
import zipfile
from pathlib import Path

import numpy as np

from latentsync.errors import UserError
from latentsync.face.landmarks import base_options, import_mediapipe
from latentsync.work.native_logs import held_back_stderr

_MEMBER = "face_detector.tflite"


class BoxDetector:
    """model_path: the `face_landmarker.task` file. Raises UserError when it cannot be used."""

    def __init__(self, model_path: str | Path, min_confidence: float = 0.5) -> None:
        try:
            with zipfile.ZipFile(model_path) as bundle:
                model = bundle.read(_MEMBER)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"face detector: cannot be read from '{model_path}' ({error}); get it with: "
                "python -m latentsync.weights fetch face-landmarker"
            ) from error
        self._mediapipe, vision = import_mediapipe()
        options = vision.FaceDetectorOptions(base_options=base_options(model), min_detection_confidence=min_confidence)
        with held_back_stderr():
            self._detector = vision.FaceDetector.create_from_options(options)
            # Its first picture warns of things that nobody can change.
            self.first_box(np.zeros((64, 64, 3), np.uint8))
        # Left to the interpreter's end, mediapipe's own clean-up runs too late and prints a traceback.
        weakref.finalize(self, self._detector.close)

    def first_box(self, image: np.ndarray) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of the first face in an image (H, W, 3) uint8 RGB, inside it; None without one."""
        height, width = image.shape[:2]
        shown = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
        found = self._detector.detect(shown).detections
        if not found:
            return None
        box = found[0].bounding_box
        left, top = max(0, box.origin_x), max(0, box.origin_y)
        right, bottom = min(width, left + box.width), min(height, top + box.height)
        return (left, top, right, bottom) if right > left and bottom > top else None
