"""Aligned crops equal the published ones, at every size, and one video does not reach into the next."""

from pathlib import Path

import numpy as np
import pytest

from latentsync.face import FaceAligner, canvas_size


@pytest.fixture
def golden(goldens: Path) -> dict[str, np.ndarray]:
    with np.load(goldens / "align_256.npz") as arrays:
        return dict(arrays)


def assert_like_published(ours: np.ndarray, published: np.ndarray) -> None:
    error = np.abs(ours.astype(int) - published)
    assert error.mean() <= 1
    assert (error <= 8).mean() >= 0.999


def test_three_frames_in_a_row_equal_the_golden(golden: dict[str, np.ndarray], formula) -> None:
    frame, aligner = formula.image(360, 640), FaceAligner(256)
    faces = [aligner.align(frame, points) for points in golden["landmarks3"]]
    for face, matrix in zip(faces, golden["matrices"]):
        assert face.matrix.dtype == np.float32
        assert np.abs(face.matrix - matrix).max() < 1e-3
    assert_like_published(faces[0].crop[::2, ::2], golden["face_crop_0"])
    assert_like_published(faces[2].crop[::2, ::2], golden["face_crop_2"])


def test_reset_makes_the_next_frame_a_first_frame(golden: dict[str, np.ndarray], formula) -> None:
    frame, aligner = formula.image(360, 640), FaceAligner(256)
    first = aligner.align(frame, golden["landmarks3"][2]).matrix
    aligner.align(frame, golden["landmarks3"][0])
    smoothed = aligner.align(frame, golden["landmarks3"][2]).matrix
    aligner.reset()
    again = aligner.align(frame, golden["landmarks3"][2]).matrix
    assert np.array_equal(first, again)
    assert not np.array_equal(first, smoothed)


def test_aligners_share_no_state(golden: dict[str, np.ndarray], formula) -> None:
    frame, used = formula.image(360, 640), FaceAligner(256)
    used.align(frame, golden["landmarks3"][0])
    fresh = FaceAligner(256).align(frame, golden["landmarks3"][1]).matrix
    assert np.array_equal(fresh, FaceAligner(256).align(frame, golden["landmarks3"][1]).matrix)


@pytest.mark.parametrize(("resolution", "size"), [(256, (210, 280)), (512, (420, 560)), (128, (105, 140))])
def test_the_canvas_grows_with_the_resolution(resolution: int, size: tuple[int, int], formula) -> None:
    assert canvas_size(resolution) == size
    points = np.array([[270.0, 120.0], [350.0, 118.0], [312.0, 175.0]])
    frame = formula.image(360, 640)
    face = FaceAligner(resolution).align(frame, points)
    assert face.crop.shape == (resolution, resolution, 3)
    # The same part of the picture: the same scene point lies at the same fraction of the canvas, to the one-pixel bias.
    at_256 = FaceAligner(256).align(frame, points).matrix
    scene = np.array([300.0, 150.0, 1.0])
    ours, theirs = face.matrix @ scene / size, at_256 @ scene / (210, 280)
    assert np.abs(ours - theirs).max() < 0.01


def test_points_on_the_template_need_no_turn(formula) -> None:
    points = np.array([[117.0, 120.0], [158.0, 120.0], [137.5, 140.0]])
    matrix = FaceAligner(256).align(formula.image(360, 640), points).matrix
    assert matrix[0, 0] == pytest.approx(matrix[1, 1])
    assert matrix[0, 0] == pytest.approx(2.8, rel=0.01)
    assert np.abs([matrix[0, 1], matrix[1, 0]]).max() < 0.03  # the nose is rounded to a whole pixel


def test_a_turned_head_comes_out_upright() -> None:
    points = np.array([[-20.5, -10.0], [20.5, -10.0], [0.0, 10.0]]) * 3
    for degrees in (-40, 15, 80):
        a = np.radians(degrees)
        turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        matrix = FaceAligner(256).align(np.zeros((400, 400, 3), np.uint8), points @ turn.T + 200).matrix
        brows = (points[:2] @ turn.T + 200) @ matrix[:, :2].T + matrix[:, 2]
        assert abs(brows[0, 1] - brows[1, 1]) < 2
        assert np.linalg.det(matrix[:, :2]) > 0  # never mirrored


def test_outside_the_frame_is_grey() -> None:
    crop = (
        FaceAligner(256)
        .align(np.zeros((200, 200, 3), np.uint8), np.array([[5.0, 5.0], [60.0, 5.0], [32.0, 30.0]]))
        .crop
    )
    assert (crop[:20, :20] == 127).all()
    assert (crop[120:140, 120:140] == 0).all()


def test_bad_points_are_refused() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="coincide"):
        FaceAligner(256).align(frame, np.full((3, 2), 7.0))
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        FaceAligner(256).align(frame, np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 6.0]]))
    with pytest.raises(ValueError, match="smoothing"):
        FaceAligner(256, smoothing=1.0)
