"""Interlaced pictures: which field is first, and pictures made whole."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from picture_kinds import Kind, write_kind

from latentsync.media import PictureReader
from latentsync.media.fields import BOTTOM, TOP, FieldMarker
from latentsync.media.picture import plane_arrays


@pytest.mark.parametrize("order", [TOP, BOTTOM])
@pytest.mark.parametrize(
    ("encoder", "pixel_format", "suffix"),
    [("libx264", "yuv420p", ".mp4"), ("libx264", "yuv422p10le", ".mkv"), ("prores_ks", "yuv422p10le", ".mov")],
)
def test_the_first_field_is_told(tmp_path: Path, order: str, encoder: str, pixel_format: str, suffix: str) -> None:
    path = write_kind(tmp_path / f"a{suffix}", Kind(encoder, pixel_format, fields=order), count=2)
    assert next(PictureReader(path).forwards()).look.fields == order


def comb(picture: np.ndarray) -> float:
    """How much neighbouring lines differ beyond those two apart."""
    lines = picture.astype(float)
    near = np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean()
    return float(near / (np.abs(lines[:-2] - lines[2:]).mean() + 1))


def combed(path: Path, count: int = 6) -> Path:
    """A bar that moves between the fields of a frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"flags": "+ilme+ildct", "crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        mark = FieldMarker(TOP)
        for number in range(count):
            frame = av.VideoFrame(96, 64, "yuv420p")
            luma, *chroma = plane_arrays(frame)
            for plane in chroma:
                plane[:] = 128
            luma[:] = 60
            luma[0::2, 8 * number : 8 * number + 20] = 200
            luma[1::2, 8 * number + 4 : 8 * number + 24] = 200
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(mark(frame)))
        container.mux(stream.encode(None))
    return path


def test_deinterlacing_takes_the_combs_away_and_keeps_number_and_times(tmp_path: Path) -> None:
    path = combed(tmp_path / "a.mkv")
    before = list(PictureReader(path).forwards())
    reader = PictureReader(path, deinterlace=True)
    after = list(reader.forwards())
    assert [(p.pts, p.duration) for p in after] == [(p.pts, p.duration) for p in before]
    assert before[0].look.fields == TOP
    assert after[0].look.fields is None
    assert comb(after[3].rgb[..., 1]) < 0.5 * comb(before[3].rgb[..., 1])
    backwards = list(reader.backwards(10**8))
    assert [p.pts for p in backwards] == [p.pts for p in after[::-1]]


def test_progressive_pictures_pass_deinterlacing_as_they_are(tmp_path: Path) -> None:
    path = write_kind(tmp_path / "a.mkv", Kind("libx264", "yuv420p"))
    plain, passed = (list(PictureReader(path, deinterlace=wanted).forwards()) for wanted in (False, True))
    for one, other in zip(plain, passed, strict=True):
        assert one.pts == other.pts
        assert all((a == b).all() for a, b in zip(plane_arrays(one.frame), plane_arrays(other.frame)))


@pytest.mark.parametrize("order", [TOP, BOTTOM])
@pytest.mark.parametrize("size", [(95, 64), (96, 63), (95, 63)])
def test_the_first_field_of_odd_sizes_is_told_too(tmp_path: Path, order: str, size: tuple[int, int]) -> None:
    path = write_kind(tmp_path / "a.mov", Kind("prores_ks", "yuv422p10le", fields=order, size=size), count=2)
    assert next(PictureReader(path).forwards()).look.fields == order


@pytest.mark.parametrize("order", [TOP, BOTTOM])
def test_a_black_beginning_tells_its_first_field(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"flags": "+ilme+ildct"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        frame = av.VideoFrame(96, 64, "yuv420p")
        for plane, level in zip(plane_arrays(frame), (16, 128, 128)):
            plane[:] = level
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(FieldMarker(order)(frame)))
        container.mux(stream.encode(None))
    assert next(PictureReader(path).forwards()).look.fields == order
