"""Aligned crops: their scale and what of them lies outside the picture are those of the geometry."""

import numpy as np
import pytest

from data_prep.align import TrackAligner, box_crop, measure_alignment
from data_prep.candidate import FaceLook
from data_prep.face_tracks import TrackFrame
from latentsync.face import Face
from latentsync.media.frames import SteadyFrame

LOOK = FaceLook((200, 200), None, (0, 0, 0), None)
TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]])  # of the published alignment, on 75 × 100


def aligned(points: np.ndarray, resolution: int = 64, box_size: int = 0) -> dict:
    face = Face(points, (40, 40, 160, 160))
    frame = SteadyFrame(0, np.full((200, 200, 3), 200, np.uint8), 0, 0.0)
    out = TrackAligner(resolution, box_size).align(TrackFrame(0, frame, face, True), LOOK)
    assert out.crop.shape == (resolution, resolution, 3)
    assert (out.box_crop is None) == (box_size == 0)
    return measure_alignment([out])


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_scale_is_crop_pixels_for_a_source_pixel(factor: float) -> None:
    row = aligned(TEMPLATE * factor + 40)
    assert row["align_scale"] == pytest.approx(2.8 * 64 / 256 / factor, rel=0.04)
    assert row["align_outside"] == 0


def test_half_a_face_beyond_the_edge_is_half_outside() -> None:
    assert aligned(TEMPLATE + np.array([-37.5, 40.0]))["align_outside"] == pytest.approx(0.5, abs=0.05)


def test_box_crop_is_a_square_around_the_box_with_grey_beyond_the_picture() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[80:120, 80:120] = 255
    face = Face(TEMPLATE, (80, 80, 120, 120))
    crop = box_crop(image, face, 56)
    # The box is 40 of a side of 56, in the middle across and at the top.
    assert (crop[2:38, 10:46] > 250).all()
    assert (crop[:, :6] < 5).all()
    assert (crop[44:] < 5).all()
    small = box_crop(image, face, 28)
    assert abs(float(small.mean()) - float(crop.mean())) < 3
    assert (box_crop(image, Face(TEMPLATE, (180, 180, 220, 220)), 56)[-4:, -4:] == 110).all()
