"""Finding faces: who stands where, and the three points that alignment needs."""

import signal
import threading
import weakref
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from latentsync.errors import UserError
from latentsync.face.small_faces import PartSearch
from latentsync.work.native_logs import held_back_stderr

# MediaPipe's face mesh (478 points): outlines of both brows, and the nose from the end of its bridge to its tip and
# wings, as they stand in the picture ("left" = smaller x in an unmirrored frontal view).
_LEFT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
_RIGHT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
_NOSE = (195, 4, 48, 278)


@dataclass(frozen=True)
class Face:
    """One face in one frame, in pixels of the image, x to the right and y down.

    landmarks3: (3, 2) float64: centres of the left brow (smaller x), the right brow, the nose. box: (x0, y0, x1, y1).
    mesh: (478, 2) float64 points of the whole face, or None where the finder has none.
    """

    landmarks3: np.ndarray
    box: tuple[float, float, float, float]
    mesh: np.ndarray | None = None

    @property
    def width(self) -> float:
        """Of the box, in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Of the box, in pixels."""
        return self.box[3] - self.box[1]


class FaceFinder(Protocol):
    """Anything that finds the faces of a video, frame after frame."""

    def find(self, frame: np.ndarray, time: float) -> list[Face]:
        """All faces of a frame, (H, W, 3) uint8 RGB, shown at `time` seconds; times grow within one video."""
        ...

    def reset(self) -> None:
        """Forget the video: the next frame is the first of another one."""
        ...


def select_largest(
    faces: Iterable[Face],
    min_width: float = 24,
    min_height: float = 32,
    min_aspect: float = 0.2,
    max_aspect: float = 1.5,
) -> Face | None:
    """The face with the largest box, or None; of those that `large_enough` lets pass."""
    fitting = large_enough(faces, min_width, min_height, min_aspect, max_aspect)
    return max(fitting, key=lambda face: face.width * face.height, default=None)


def large_enough(
    faces: Iterable[Face],
    min_width: float = 24,
    min_height: float = 32,
    min_aspect: float = 0.2,
    max_aspect: float = 1.5,
) -> list[Face]:
    """The faces with boxes of min_width × min_height pixels at least, and width / height in [min_aspect, max_aspect].

    The published system asks for 50 × 80; the smaller default lets small pictures pass.
    """
    return [
        face
        for face in faces
        if face.width >= min_width
        and face.height >= min_height
        and min_aspect <= face.width / face.height <= max_aspect
    ]


class GivenFaces:
    """A finder that knows the faces beforehand, as for synthetic heads.

    faces: for each frame of the video, in order, its faces, or one landmarks3 (3, 2) array for a single face. Raises
    IndexError when more frames are asked for than were given.
    """

    def __init__(self, faces: Sequence[Sequence[Face] | np.ndarray]) -> None:
        self._faces = [_as_faces(entry) for entry in faces]
        self._next = 0

    def find(self, frame: np.ndarray, time: float) -> list[Face]:
        """The faces of the next frame; picture and time are not looked at."""
        if self._next >= len(self._faces):
            raise IndexError(f"faces of {len(self._faces)} frames were given, frame {self._next + 1} asks for more")
        self._next += 1
        return self._faces[self._next - 1]

    def reset(self) -> None:
        """Start again at the first frame."""
        self._next = 0


def _as_faces(entry: Sequence[Face] | np.ndarray) -> list[Face]:
    if not isinstance(entry, np.ndarray):
        return list(entry)
    points = np.asarray(entry, dtype=np.float64)
    if points.shape != (3, 2):
        raise ValueError(f"landmarks3 must be (3, 2), not {points.shape}")
    # A face is about twice as wide as its brows' centres are apart, and reaches as far below them as it is wide.
    span = float(np.linalg.norm(points[1] - points[0]))
    x, y = points[:2].mean(axis=0)
    return [Face(points, (x - span, y - span / 2, x + span, y + 2 * span))]


class MediaPipeFaceFinder:
    """MediaPipe's face landmarker (Apache-2.0), following faces through a video.

    model_path: the `face_landmarker.task` file. num_faces: at most so many a frame. min_confidence: of detection and
    presence, 0 … 1. small_faces: where the whole picture shows no face its parts are searched (see `PartSearch`);
    otherwise a face must fill about a tenth of the picture's longer side.
    Raises UserError when the model file is missing or unusable, or when mediapipe cannot be loaded.
    """

    def __init__(
        self,
        model_path: str | Path = "checkpoints/face_landmarker.task",
        num_faces: int = 4,
        min_confidence: float = 0.5,
        small_faces: bool = True,
    ) -> None:
        self.model_path = Path(model_path)
        check_model(self.model_path)
        self.num_faces = num_faces
        self.min_confidence = min_confidence
        self._parts = PartSearch(self._find_in_picture) if small_faces else None
        self._landmarker: Any = None
        self._of_pictures: Any = None  # for parts, which follow no video; opened when first needed
        self._warm = False
        self._last_stamp = -1
        self._mediapipe, self._vision = import_mediapipe()
        self._open()

    def find(self, frame: np.ndarray, time: float) -> list[Face]:
        """Faces of one frame, (H, W, 3) uint8 RGB; `time` in seconds must grow by 1 ms at least, until `reset()`."""
        stamp = round(time * 1000)
        if stamp <= self._last_stamp:
            raise ValueError(f"time {time} s does not come after {self._last_stamp} ms; reset() before another video")
        self._last_stamp = stamp
        followed = self._parts.follow(frame, time) if self._parts else []
        if followed:
            return followed
        faces = self._find_in_video(frame, stamp)
        return self._parts.search(frame, time) if self._parts and not faces else faces

    def _find_in_video(self, frame: np.ndarray, stamp: int) -> list[Face]:
        # mediapipe silently finds nothing in an array that is not contiguous.
        image = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
        # Its threads go on writing start-up warnings until the first picture is through.
        with nullcontext() if self._warm else held_back_stderr():
            found = self._landmarker.detect_for_video(image, stamp)
        self._warm = True
        return self._faces_of(found, frame)

    def _find_in_picture(self, image: np.ndarray) -> list[Face]:
        cold = self._of_pictures is None
        if cold:
            self._of_pictures = self._landmarker_for(self._vision.RunningMode.IMAGE)
            self._close_pictures = weakref.finalize(self, self._of_pictures.close)
        seen = self._mediapipe.Image(image_format=self._mediapipe.ImageFormat.SRGB, data=image)
        with held_back_stderr() if cold else nullcontext():
            return self._faces_of(self._of_pictures.detect(seen), image)

    def _faces_of(self, found: Any, frame: np.ndarray) -> list[Face]:
        size = np.array([frame.shape[1], frame.shape[0]], dtype=np.float64)
        meshes = [np.array([(point.x, point.y) for point in points]) * size for points in found.face_landmarks]
        return [face_from_mesh(mesh) for mesh in meshes]

    def reset(self) -> None:
        """Forget the video; the next frame may have any time."""
        self.close()
        self._open()
        if self._parts:
            self._parts.reset()

    def close(self) -> None:
        """Free the model; `reset` opens it again."""
        if self._landmarker is not None:
            self._finalizer()
            self._landmarker = None
        if self._of_pictures is not None:
            self._close_pictures()
            self._of_pictures = None

    def _open(self) -> None:
        self._landmarker = self._landmarker_for(self._vision.RunningMode.VIDEO)
        # Left to the interpreter's end, mediapipe's own clean-up runs too late and prints a traceback.
        self._finalizer = weakref.finalize(self, self._landmarker.close)
        self._warm = False
        self._last_stamp = -1

    def _landmarker_for(self, mode: Any) -> Any:
        vision = self._vision
        options = vision.FaceLandmarkerOptions(
            base_options=base_options(self.model_path),
            running_mode=mode,
            num_faces=self.num_faces,
            min_face_detection_confidence=self.min_confidence,
            min_face_presence_confidence=self.min_confidence,
        )
        try:
            with held_back_stderr():
                return vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise UserError(
                f"face landmarker model '{self.model_path}' cannot be used ({error}); "
                "get it again with: python -m latentsync.weights fetch face-landmarker"
            ) from error


def check_model(path: Path) -> None:
    """Raise UserError where the face landmarker's file is missing."""
    if not path.is_file():
        raise UserError(
            f"face landmarker model '{path}' is missing; "
            "get it with: python -m latentsync.weights fetch face-landmarker"
        )


def face_from_mesh(mesh: np.ndarray) -> Face:
    """A `Face` from MediaPipe's mesh, (468 or 478, 2) in pixels."""
    brows = sorted(
        (mesh[list(_LEFT_BROW)].mean(axis=0), mesh[list(_RIGHT_BROW)].mean(axis=0)), key=lambda point: point[0]
    )
    low, high = mesh.min(axis=0), mesh.max(axis=0)
    return Face(
        landmarks3=np.stack([*brows, mesh[list(_NOSE)].mean(axis=0)]),
        box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        mesh=mesh,
    )


def import_mediapipe() -> tuple[Any, Any]:
    """Load it when first needed: it takes a second and wants system libraries."""
    _ignore_profiling_signal()
    try:
        import mediapipe
        from mediapipe.tasks.python import vision
    except (ImportError, OSError) as error:
        raise UserError(
            f"face finder: mediapipe cannot be loaded ({error}); install it, and the system's libEGL and libGLESv2"
        ) from error
    return mediapipe, vision


def _ignore_profiling_signal() -> None:
    """Leave SIGPROF without effect unless something handles it.

    mediapipe's threads arm profiling timers and ignore their signal behind Python's back. Whoever saves and restores
    signal handlers, as Lightning's trainer does, then puts back the default, and the next signal ends the process
    ("Profiling timer expired"). Set through Python, the disposition survives that.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()  # elsewhere Python may not set it
    if in_main_thread and hasattr(signal, "SIGPROF") and signal.getsignal(signal.SIGPROF) is signal.SIG_DFL:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)


def base_options(model: Path | bytes) -> Any:
    """For a model in a file, or in memory; on the CPU."""
    from mediapipe.tasks.python import BaseOptions

    where = {"model_asset_buffer": model} if isinstance(model, bytes) else {"model_asset_path": str(model)}
    return BaseOptions(**where, delegate=BaseOptions.Delegate.CPU)
