"""Faces are found in real frames, chosen by size, and lie in the crop as the published ones do."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import UserError
from latentsync.face import Face, FaceAligner, GivenFaces, MediaPipeFaceFinder, select_largest
from latentsync.face.mouth_mask import mouth_mask
from latentsync.media import read_frames

LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 0, 37, 39, 40, 185, 267, 269, 270, 409]


@pytest.fixture(scope="module")
def finder(shared: Path) -> MediaPipeFaceFinder:
    return MediaPipeFaceFinder(shared / "assets" / "weights" / "face_landmarker.task")


def box(x0: float, y0: float, x1: float, y1: float) -> Face:
    return Face(np.zeros((3, 2)), (x0, y0, x1, y1))


@pytest.mark.parametrize(
    "clip",
    ["demo1_video.mp4", "demo3_video.mp4", "Obama_clip1.mp4", "WDA_KatieHill_000.mp4", "brbk7n.mpg", "sbia1a.mpg"],
)
def test_lips_lie_in_the_mask_and_the_nose_in_its_notch(finder: MediaPipeFaceFinder, shared: Path, clip: str) -> None:
    finder.reset()
    aligner, keep = FaceAligner(256), mouth_mask(256)[0].numpy()
    for frame in islice(read_frames(shared / "assets" / "clips" / clip), 3):
        face = select_largest(finder.find(frame.image, frame.time))
        assert face is not None
        left, right, nose = face.landmarks3
        assert left[0] < nose[0] < right[0]
        assert max(left[1], right[1]) < nose[1]
        matrix = aligner.align(frame.image, face.landmarks3).matrix
        points = (face.mesh @ matrix[:, :2].T + matrix[:, 2]) * (256 / 210, 256 / 280)
        columns, rows = points[LIPS].round().astype(int).T
        assert (keep[rows, columns] == 0).all()
        assert 145 < points[[13, 14], 1].mean() < 185  # between the lips
        assert 95 < points[4, 1] < 127  # the tip of the nose
        assert 78 < points[4, 0] < 178


def test_a_view_that_is_not_contiguous_is_seen_too(finder: MediaPipeFaceFinder, shared: Path) -> None:
    frame = next(iter(read_frames(shared / "assets" / "clips" / "brbk7n.mpg"))).image
    wide = np.zeros((frame.shape[0], frame.shape[1] + 7, 3), np.uint8)
    wide[:, :-7] = frame
    finder.reset()
    assert len(finder.find(wide[:, :-7], 0.0)) == 1


def test_a_frame_without_a_face_gives_none(finder: MediaPipeFaceFinder, formula) -> None:
    finder.reset()
    assert finder.find(formula.image(240, 320), 0.0) == []


def test_time_must_grow_until_reset(finder: MediaPipeFaceFinder) -> None:
    empty = np.zeros((64, 64, 3), np.uint8)
    finder.reset()
    finder.find(empty, 1.0)
    with pytest.raises(ValueError, match="does not come after"):
        finder.find(empty, 1.0)
    finder.reset()
    finder.find(empty, 0.0)


def test_finding_writes_nothing_on_the_terminal(shared: Path, formula, capfd: pytest.CaptureFixture[str]) -> None:
    finder = MediaPipeFaceFinder(shared / "assets" / "weights" / "face_landmarker.task")
    finder.find(formula.image(240, 320), 0.0)
    finder.close()
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_a_missing_model_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"is missing; get it with: python -m latentsync\.weights fetch face-landmarker"
    ):
        MediaPipeFaceFinder(tmp_path / "face_landmarker.task")


def test_a_broken_model_says_how_to_get_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(b"not a model" * 100)
    with pytest.raises(UserError, match="cannot be used"):
        MediaPipeFaceFinder(path)


def test_the_largest_fitting_face_is_taken() -> None:
    small, large, tiny, flat = box(0, 0, 60, 90), box(50, 0, 170, 160), box(0, 0, 10, 14), box(0, 0, 900, 100)
    assert select_largest([small, large, tiny, flat]) is large
    assert select_largest([tiny, flat]) is None
    assert select_largest([]) is None
    assert select_largest([small], min_width=61) is None
    assert select_largest([tiny], min_width=5, min_height=5) is tiny


def test_given_faces_come_in_order_and_end() -> None:
    points = np.array([[10.0, 20.0], [50.0, 20.0], [30.0, 45.0]])
    finder = GivenFaces([points, [box(0, 0, 60, 90)], []])
    frame = np.zeros((8, 8, 3), np.uint8)
    first = finder.find(frame, 0.0)
    assert np.array_equal(first[0].landmarks3, points)
    assert select_largest(first) is first[0]
    assert len(finder.find(frame, 0.04)) == 1
    assert finder.find(frame, 0.08) == []
    with pytest.raises(IndexError, match="faces of 3 frames"):
        finder.find(frame, 0.12)
    finder.reset()
    assert np.array_equal(finder.find(frame, 0.0)[0].landmarks3, points)
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        GivenFaces([np.zeros((2, 2))])


def test_profiling_timers_of_mediapipe_do_not_end_the_process_after_handlers_were_restored() -> None:
    code = (
        "import os, signal; from latentsync.face.landmarks import import_mediapipe; import_mediapipe();"
        "signal.signal(signal.SIGPROF, signal.getsignal(signal.SIGPROF));"  # as Lightning does after a run
        "os.kill(os.getpid(), signal.SIGPROF); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "alive\n", done.stderr


@pytest.mark.parametrize("short", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_a_face_at_the_limits_of_size_and_shape_is_taken_and_one_beyond_them_is_not(
    short: tuple[int, int, int],
) -> None:
    """24 × 32 pixels at least, at most 1.5 times as wide as high."""
    narrow, low, wide = short
    assert (select_largest([box(0, 0, 24 - narrow, 32)]) is None) == bool(narrow)
    assert (select_largest([box(0, 0, 24, 32 - low)]) is None) == bool(low)
    assert (select_largest([box(0, 0, 60 + wide, 40)]) is None) == bool(wide)
