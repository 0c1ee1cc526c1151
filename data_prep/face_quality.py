"""Stages crop and quality: is the face large, frontal, inside the picture, well lit and finely drawn enough?"""

import math
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np

from data_prep.candidate import FaceFrame, FaceLook
from data_prep.manifest import Row
from latentsync.errors import UserError
from latentsync.face.landmarks import Face

LIGHT_EVERY = 5  # frames between looks at sharpness and light: they change slowly
_FACE_WIDTH = 128  # sharpness is compared at one size
_DARK, _WHITE = 5, 250
_BLOCK = 8  # pixels: transform blocks of JPEG, MPEG and H.264 begin at multiples of it

# MediaPipe's mesh and, for the same points, a face of average proportions: x right, y down, z away, in millimetres.
_POSE_POINTS = (4, 152, 33, 263, 61, 291)  # nose tip, chin, outer corners of the eyes, corners of the mouth
_POSE_MODEL = np.array(
    [(0, 0, 0), (0, 63.6, 12.5), (-43.3, -32.7, 26), (43.3, -32.7, 26), (-28.9, 28.9, 24.1), (28.9, 28.9, 24.1)],
    dtype=np.float64,
)
_INNER_LIPS = (13, 14)  # upper, lower
_FOREHEAD, _CHIN = 10, 152
# Of a frontal face in the alignment's template: how far the nose lies below the brows, in brow distances.
_NOSE_DEPTH = 0.55  # how far it stands out, in brow distances: turns a sideways shift into an angle


def look_at(image: np.ndarray, face: Face, with_light: bool) -> FaceLook:
    """Look at one face of a picture, (H, W, 3) uint8 RGB; with_light: also at its sharpness, light and block edges."""
    height, width = image.shape[:2]
    return FaceLook((width, height), _opening(face), _pose(face, width, height), _light(image, face, with_light))


def measure_crop(frames: list[FaceFrame]) -> Row:
    """crop_… of a candidate, over its frames: medians, and for what must hold all the time the worse 10 %."""
    boxes = np.array([frame.face.box for frame in frames])
    sizes = boxes[:, 2:] - boxes[:, :2]
    picture = np.array([frame.look.picture for frame in frames], dtype=np.float64)
    poses = np.abs([frame.look.pose for frame in frames])
    shown = np.clip(np.minimum(boxes[:, 2:], picture) - np.maximum(boxes[:, :2], 0), 0, None)
    inside = shown[:, 0] * shown[:, 1] / np.maximum(sizes[:, 0] * sizes[:, 1], 1e-9)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    centring = np.hypot(*(centres - picture / 2).T) / np.hypot(*(picture / 2).T)
    light = np.array([frame.look.light for frame in frames if frame.look.light is not None])
    yaw, pitch, roll = (float(np.quantile(column, 0.9)) for column in poses.T)
    sharpness, brightness, clipped, _ = np.median(light, axis=0).tolist()
    return {
        "crop_face_width": round(float(np.median(sizes[:, 0])), 1),
        "crop_face_height": round(float(np.median(sizes[:, 1])), 1),
        "crop_yaw": round(yaw, 1),
        "crop_pitch": round(pitch, 1),
        "crop_roll": round(roll, 1),
        "crop_inside": round(float(np.quantile(inside, 0.1)), 3),
        "crop_centring": round(float(np.median(centring)), 3),
        "crop_sharpness": round(sharpness, 1),
        "crop_brightness": round(brightness, 1),
        "crop_clipped": round(clipped, 4),
    }


def measure_quality(frames: list[FaceFrame], iqa: "HyperIqa | None") -> Row:
    """quality_… of a candidate: of its first, middle and last frame, as published; blockiness over more of them."""
    chosen = [frames[0].crop, frames[len(frames) // 2].crop, frames[-1].crop]
    blocks = [frame.look.light[3] for frame in frames if frame.look.light is not None]
    return {
        "quality_detail": round(float(np.mean([detail(crop) for crop in chosen])), 4),
        "quality_blockiness": round(float(np.median(blocks)), 3),
        "quality_iqa": None if iqa is None else round(iqa.score(chosen), 2),
    }


class HyperIqa:
    """hyperIQA (Su et al., CVPR 2020) through pyiqa, on its scale of 0 … 100. Raises UserError without pyiqa."""

    def __init__(self, device: str = "cpu") -> None:
        self.check()
        import pyiqa

        try:
            self._metric: Any = pyiqa.create_metric("hyperiqa", device=device)
        except OSError as error:  # pyiqa fetches its weights when it first needs them
            raise UserError(
                f"measure.hyperiqa=true: pyiqa cannot get its weights ({error}); let it fetch them on a machine with "
                "network, or set measure.hyperiqa=false"
            ) from error

    @staticmethod
    def check() -> None:
        """Raise UserError where pyiqa is not installed, without importing it."""
        if find_spec("pyiqa") is None:
            raise UserError(
                "measure.hyperiqa=true: the pyiqa package is not installed; "
                "pip install 'latentsync-in-lightning[quality]', or set measure.hyperiqa=false"
            )

    def score(self, crops: list[np.ndarray]) -> float:
        """The mean over crops (R, R, 3) uint8 RGB."""
        import torch

        with torch.inference_mode():
            pictures = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255
            return 100 * float(self._metric(pictures).mean())


def blockiness(grey: np.ndarray, x0: int = 0, y0: int = 0) -> float:
    """Mean grey step across the lines of the 8-pixel grid / mean step elsewhere; 1 = no blocks to be seen.

    grey: (h, w) uint8, a part of a picture that begins at its pixel (x0, y0).
    """
    on: list[np.ndarray] = []
    off: list[np.ndarray] = []
    for axis, origin in ((1, x0), (0, y0)):
        steps = np.abs(np.diff(grey.astype(np.float32), axis=axis))
        steps = steps.mean(axis=1 - axis)
        at_grid = (np.arange(1, len(steps) + 1) + origin) % _BLOCK == 0
        on.append(steps[at_grid])
        off.append(steps[~at_grid])
    grid, elsewhere = np.concatenate(on), np.concatenate(off)
    if len(grid) == 0 or len(elsewhere) == 0:
        return 1.0
    # One grey level is added, so that noise in a flat picture does not count as blocks.
    return float((grid.mean() + 1) / (elsewhere.mean() + 1))


def detail(crop: np.ndarray) -> float:
    """How much of a crop's contrast is lost when it is halved and brought back: near 0 for an enlarged or blurred face.

    crop: (R, R, 3) uint8 RGB.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    half = cv2.resize(grey, (grey.shape[1] // 2, grey.shape[0] // 2), interpolation=cv2.INTER_AREA)
    back = cv2.resize(half, (grey.shape[1], grey.shape[0]), interpolation=cv2.INTER_CUBIC)
    return float((grey - back).std() / max(1e-6, float(grey.std())))


def _opening(face: Face) -> float | None:
    """Distance of the inner lips / height of the face."""
    if face.mesh is None:
        return None
    upper, lower = (face.mesh[index] for index in _INNER_LIPS)
    height = float(np.linalg.norm(face.mesh[_CHIN] - face.mesh[_FOREHEAD]))
    return float(np.linalg.norm(lower - upper)) / max(1e-6, height)


def _pose(face: Face, width: int, height: int) -> tuple[float, float, float]:
    """Yaw, pitch, roll in degrees; of three points alone yaw and roll are estimated, pitch is 0."""
    across = face.landmarks3[1] - face.landmarks3[0]
    if face.mesh is None:
        span = float(np.linalg.norm(across)) or 1.0
        shift = float((face.landmarks3[2] - face.landmarks3[:2].mean(axis=0)) @ across) / span**2
        roll = math.degrees(math.atan2(across[1], across[0]))
        return math.degrees(math.atan(shift / _NOSE_DEPTH)), 0.0, roll
    points = face.mesh[list(_POSE_POINTS)]
    # A camera that sees 60° or so: the pose hardly depends on it.
    lens = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], dtype=np.float64)
    found, vector, _ = cv2.solvePnP(_POSE_MODEL, points, lens, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found:
        return 90.0, 90.0, 90.0
    turn = cv2.Rodrigues(vector)[0]
    forward = turn[:, 2]  # where the back of the head points, in the camera's axes
    yaw = math.degrees(math.atan2(forward[0], forward[2]))
    pitch = math.degrees(math.atan2(forward[1], math.hypot(forward[0], forward[2])))
    # The eyes' line tells the tilt also where the pose cannot be told, upside down.
    eyes = face.mesh[263] - face.mesh[33]
    return yaw, pitch, math.degrees(math.atan2(eyes[1], eyes[0]))


def _light(image: np.ndarray, face: Face, with_light: bool) -> tuple[float, float, float, float] | None:
    """(variance of the Laplacian, mean grey, share of clipped pixels, blockiness) of the face's box."""
    if not with_light:
        return None
    height, width = image.shape[:2]
    x0, x1 = (int(np.clip(round(face.box[axis]), 0, width)) for axis in (0, 2))
    y0, y1 = (int(np.clip(round(face.box[axis]), 0, height)) for axis in (1, 3))
    if x1 - x0 < 8 or y1 - y0 < 8:
        return 0.0, 0.0, 1.0, 1.0
    grey = cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY)
    scale = _FACE_WIDTH / (x1 - x0)
    size = (_FACE_WIDTH, max(8, round((y1 - y0) * scale)))
    same_size = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return (
        float(cv2.Laplacian(same_size, cv2.CV_32F).var()),
        float(same_size.mean()),
        float(((same_size <= _DARK) | (same_size >= _WHITE)).mean()),
        blockiness(grey, x0, y0),
    )
