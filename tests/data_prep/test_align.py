"""Aligned crops: their scale and what of them lies outside the picture are those of the geometry."""

import numpy as np
import pytest

from data_prep.align import TrackAligner, measure_alignment
from data_prep.candidate import FaceLook
from data_prep.face_tracks import TrackFrame
from latentsync.face import Face
from latentsync.face.head_box import head_box, syncnet_crop
from latentsync.media.frames import SteadyFrame

LOOK = FaceLook((200, 200), None, (0, 0, 0), None)
TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]])  # of the published alignment, on 75 × 100


def aligned(points: np.ndarray, resolution: int = 64) -> dict:
    face = Face(points, (40, 40, 160, 160))
    frame = SteadyFrame(0, np.full((200, 200, 3), 200, np.uint8), 0, 0.0)
    (out,) = TrackAligner(resolution).push(TrackFrame(0, frame, face, True), LOOK)
    assert out.crop.shape == (resolution, resolution, 3)
    assert out.box_crop is None
    return measure_alignment([out])


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_scale_is_crop_pixels_for_a_source_pixel(factor: float) -> None:
    row = aligned(TEMPLATE * factor + 40)
    assert row["align_scale"] == pytest.approx(2.8 * 64 / 256 / factor, rel=0.04)
    assert row["align_outside"] == 0


def test_half_a_face_beyond_the_edge_is_half_outside() -> None:
    assert aligned(TEMPLATE + np.array([-37.5, 40.0]))["align_outside"] == pytest.approx(0.5, abs=0.05)


def test_crops_around_the_head_come_six_frames_late_and_none_is_lost() -> None:
    image = np.full((200, 200, 3), 200, np.uint8)
    face = Face(TEMPLATE * 1.5 + 40, (40, 40, 160, 160))
    aligner = TrackAligner(64, box_size=56)
    out = [
        frame
        for index in range(9)
        for frame in aligner.push(TrackFrame(0, SteadyFrame(index, image, index, index / 25), face, True), LOOK)
    ]
    assert [frame.index for frame in out] == [0, 1, 2]
    out += aligner.end()
    assert [frame.index for frame in out] == list(range(9))
    expected = syncnet_crop(image, head_box(face), 56)
    assert all(np.array_equal(frame.box_crop, expected) for frame in out)
    assert aligner.seen == 9
