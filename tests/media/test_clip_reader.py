"""Random access: the frames asked for, in the order asked for, the same from both libraries."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from latentsync.media import ClipReader, encode_clip


@pytest.fixture(scope="module")
def levels() -> np.ndarray:
    """30 moving pictures; the mean level of frame i is about 40 + 5·i."""
    y, x = np.mgrid[0:64, 0:64]
    return np.stack(
        [np.stack([40 + 5 * i + 20 * np.sin((x + 3 * i) / 9), 40 + 5 * i + 0 * x, 40 + 5 * i + 10 * np.cos(y / 7)], -1)
         for i in range(30)]
    ).astype(np.uint8)  # fmt: skip


@pytest.fixture(scope="module")
def clip(levels: np.ndarray) -> bytes:
    return encode_clip(levels)


def av1_clip(count: int = 6) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libsvtav1", rate=25, options={"preset": "11", "svtav1-params": "lp=1"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 30 * index + 20, np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


@pytest.mark.parametrize("backend", ["decord", "pyav"])
def test_frames_come_in_the_order_asked_with_repeats(clip: bytes, levels: np.ndarray, backend: str) -> None:
    if backend == "decord":
        pytest.importorskip("decord")
    reader = ClipReader(clip, backend=backend)
    wanted = [17, 3, 3, 29, 0, 8]
    frames = reader.read(wanted)
    assert len(reader) == 30
    assert frames.shape == (6, 64, 64, 3)
    assert frames.dtype == np.uint8
    assert np.abs(frames.astype(float) - levels[wanted]).mean() < 3


def test_both_libraries_give_the_same_frames(clip: bytes) -> None:
    pytest.importorskip("decord")
    everything = list(range(30))
    first, second = ClipReader(clip, "decord").read(everything), ClipReader(clip, "pyav").read(everything)
    assert np.abs(first.astype(int) - second.astype(int)).max() <= 2


def test_a_reader_can_be_asked_again_and_backwards(clip: bytes, levels: np.ndarray) -> None:
    reader = ClipReader(clip)
    for start in (20, 5, 12, 0):
        window = reader.read(range(start, start + 4))
        assert np.abs(window.astype(float) - levels[start : start + 4]).mean() < 3


def test_pyav_takes_over_where_decord_refuses_the_stream() -> None:
    pytest.importorskip("decord")
    if "libsvtav1" not in av.codecs_available:
        pytest.skip("this PyAV cannot write AV1")
    data = av1_clip()  # decord's FFmpeg has no AV1 decoder
    with pytest.raises(ValueError, match="decord"):
        ClipReader(data, "decord")
    reader = ClipReader(data)
    assert reader.backend == "pyav"
    assert np.abs(reader.read([4, 1])[:, 32, 32, 0].astype(int) - [140, 50]).max() <= 4


def test_other_containers_go_to_pyav_because_decords_seeks_are_not_exact_there(shared) -> None:
    data = (shared / "assets" / "clips" / "brbk7n.mpg").read_bytes()
    reader = ClipReader(data)
    assert reader.backend == "pyav"
    assert len(reader) == 75
    assert reader.read([74]).shape == (1, 288, 360, 3)


def test_both_libraries_agree_on_a_real_clip_with_b_frames(shared) -> None:
    pytest.importorskip("decord")
    data = (shared / "assets" / "clips" / "Obama_clip1.mp4").read_bytes()
    wanted = [40, 41, 42, 7, 90]
    first, second = ClipReader(data, "decord").read(wanted), ClipReader(data, "pyav").read(wanted)
    assert np.abs(first.astype(int) - second.astype(int)).max() <= 2


@pytest.mark.parametrize("backend", ["auto", "decord", "pyav"])
def test_bytes_that_are_no_video_are_refused(backend: str) -> None:
    if backend == "decord":
        pytest.importorskip("decord")
    with pytest.raises(ValueError):
        ClipReader(b"not a video at all" * 20, backend=backend)


def test_numbers_outside_the_clip_are_refused(clip: bytes) -> None:
    reader = ClipReader(clip)
    with pytest.raises(IndexError, match="clip of 30"):
        reader.read([3, 30])
    with pytest.raises(IndexError):
        reader.read([-1])
    with pytest.raises(ValueError, match="no frame"):
        reader.read([])
    with pytest.raises(ValueError, match="backend"):
        ClipReader(clip, backend="opencv")
