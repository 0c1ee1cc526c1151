"""Pictures with the decoder's own planes: what is kept to the bit, what a change touches, forwards and backwards."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from picture_kinds import HLG_TAGS, PQ_TAGS, Kind, scene, write_kind

from latentsync.errors import UserError
from latentsync.media import Picture, PictureReader, VideoWriter, encode_clip, still_picture
from latentsync.media.orientation import Box, Orientation
from latentsync.media.picture import plane_arrays

SHAPE = (48, 64, 3)


def pattern(number: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A picture with detail; its mean tells its number."""
    noise = np.random.default_rng(number).integers(-20, 20, shape)
    return np.clip(40 + 5 * number + noise, 0, 255).astype(np.uint8)


def encoded(path: Path, pixel_format: str = "yuv420p", count: int = 6, degrees: int = 0, tags: int = 6) -> Path:
    """A video as a camera writes it: its own pixel format, colour tags, rotation and uneven times."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10", "g": "4"})
        stream.width, stream.height, stream.pix_fmt = SHAPE[1], SHAPE[0], pixel_format
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.colorspace = stream.codec_context.color_primaries = tags
        stream.codec_context.color_range = 2 if pixel_format.startswith("yuvj") else 1
        if degrees:
            stream.set_display_rotation(-degrees)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(pattern(number), format="rgb24")
            frame.pts, frame.time_base = 40 * number + 7 * (number % 3), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def same_planes(one: Picture, other: Picture) -> bool:
    return all((a == b).all() for a, b in zip(plane_arrays(one.frame), plane_arrays(other.frame), strict=True))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("degrees", [0, 90])
def test_a_lossless_copy_is_the_source_to_the_bit_with_times_colours_and_rotation(
    tmp_path: Path, pixel_format: str, degrees: int
) -> None:
    source = list(PictureReader(encoded(tmp_path / "a.mp4", pixel_format, degrees=degrees)).forwards())
    look = source[0].look
    with VideoWriter(tmp_path / "b.mp4", look.width, look.height, look.rate, crf=0, look=look) as writer:
        for picture in source:
            writer.write_frame(picture.changed(picture.rgb), picture.pts, picture.duration)
    copy = list(PictureReader(tmp_path / "b.mp4").forwards())
    assert all(same_planes(a, b) for a, b in zip(source, copy, strict=True))
    seconds = [[float(p.pts * p.look.time_base) for p in pictures] for pictures in (source, copy)]
    assert seconds[1] == pytest.approx(seconds[0], abs=1e-4)
    for name in ("matrix", "primaries", "color_range", "display_matrix", "width", "height"):
        assert getattr(copy[0].look, name) == getattr(look, name), name
    assert copy[0].rgb.shape == (SHAPE if degrees == 0 else (SHAPE[1], SHAPE[0], 3))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv420p10le"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_change_is_seen_where_it_was_made_and_nowhere_else(tmp_path: Path, pixel_format: str, degrees: int) -> None:
    picture = next(PictureReader(encoded(tmp_path / "a.mp4", pixel_format, degrees=degrees)).forwards())
    image = picture.rgb.copy()
    image[5:25, 11:31] = (200, 60, 60)
    changed = Picture(picture.changed(image), picture.look, picture.turn)
    assert np.abs(changed.rgb[9:21, 15:27].astype(int) - (200, 60, 60)).mean() < 12  # the rest of the noise's chroma
    for plane, (before, after) in enumerate(zip(plane_arrays(picture.frame), plane_arrays(changed.frame))):
        seen = [picture.turn.upright(np.repeat(array[..., None], 3, -1))[..., 0] for array in (before, after)]
        share = [side / whole for side, whole in zip(seen[0].shape, image.shape)]
        rows, columns = np.nonzero(seen[0] != seen[1])
        reach = 0 if plane == 0 else 8  # the filter that halves chroma
        assert (5 - reach) * share[0] <= rows.min() <= rows.max() < (25 + reach) * share[0]
        assert (11 - reach) * share[1] <= columns.min() <= columns.max() < (31 + reach) * share[1]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p"])
@pytest.mark.parametrize(
    "turn", [Orientation(t, x, y) for t in (False, True) for x in (False, True) for y in (False, True)]
)
@pytest.mark.parametrize("box", [(16, 30, 21, 37), (0, 9, 0, 5), (40, 48, 50, 64), (0, 48, 0, 64)])
def test_a_change_of_a_patch_is_the_same_change_of_the_whole_picture(
    tmp_path: Path, pixel_format: str, turn: Orientation, box: Box
) -> None:
    decoded = next(PictureReader(encoded(tmp_path / "a.mp4", pixel_format)).forwards())
    picture = Picture(decoded.frame, decoded.look, turn)
    image = picture.rgb.copy()
    if turn.transpose:
        box = (*box[2:], *box[:2])
    top, bottom, left, right = box
    image[top:bottom, left:right] += 40
    patch = picture.patch(box)
    assert np.array_equal(
        patch.rgb, picture.rgb[patch.corner[0] :, patch.corner[1] :][: len(patch.rgb), : patch.rgb.shape[1]]
    )
    painted = patch.rgb.copy()
    y, x = top - patch.corner[0], left - patch.corner[1]
    painted[y : y + bottom - top, x : x + right - left] += 40
    whole, part = picture.changed(image), picture.changed(painted, patch)
    assert all((a == b).all() for a, b in zip(plane_arrays(whole), plane_arrays(part), strict=True))


def test_a_still_of_odd_size_keeps_it() -> None:
    picture = still_picture(pattern(3, (47, 63, 3)))
    assert (picture.look.width, picture.look.height) == (63, 47)
    picture.forget()
    np.testing.assert_array_equal(picture.rgb, pattern(3, (47, 63, 3)))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("buffer_bytes", [1, 10**8])
def test_backwards_is_forwards_reversed(tmp_path: Path, suffix: str, buffer_bytes: int) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "24", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = SHAPE[1], SHAPE[0], "yuv420p"
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(pattern(number), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reader = PictureReader(path)
    forwards = [(p.pts, p.duration, p.rgb) for p in reader.forwards()]
    backwards = [(p.pts, p.duration, p.rgb) for p in reader.backwards(buffer_bytes)]
    assert len(forwards) == 40
    assert [entry[:2] for entry in backwards] == [entry[:2] for entry in forwards[::-1]]
    assert all((a[2] == b[2]).all() for a, b in zip(backwards, forwards[::-1]))


def test_backwards_work_grows_with_the_length_not_its_square(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 0
    real = PictureReader._frames

    def counted(self, container, stream):
        nonlocal decoded
        for frame in real(self, container, stream):
            decoded += 1
            yield frame

    (tmp_path / "a.mp4").write_bytes(encode_clip([np.full(SHAPE, n, np.uint8) for n in range(200)], gop=10))
    reader = PictureReader(tmp_path / "a.mp4")
    assert sum(1 for _ in reader.forwards()) == 200
    monkeypatch.setattr(PictureReader, "_frames", counted)
    assert sum(1 for _ in reader.backwards(1)) == 200
    assert decoded < 3 * 200


def test_damage_in_the_middle_ends_the_video_only_when_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(encode_clip([np.random.default_rng(n).integers(0, 255, SHAPE, np.uint8) for n in range(30)]))
    half = len(data) // 2
    data[half : half + 4000] = bytes(i * 7 % 256 for i in range(4000))
    (tmp_path / "hurt.mp4").write_bytes(data)
    with pytest.raises(UserError, match=r"hurt\.mp4': cannot be decoded after \d\.\d\d s .*keep_readable=true"):
        list(PictureReader(tmp_path / "hurt.mp4").forwards())
    kept = list(PictureReader(tmp_path / "hurt.mp4", keep_readable=True).forwards())
    assert 5 < len(kept) < 30
    assert "the rest is left out" in caplog.text


@pytest.mark.parametrize("tags", [PQ_TAGS, HLG_TAGS, (9, 9, 14)])
@pytest.mark.parametrize("size", [(96, 64), (95, 63)])
def test_what_is_painted_into_a_wide_picture_looks_as_it_was_painted(
    tmp_path: Path, tags: tuple[int, int, int], size: tuple[int, int]
) -> None:
    kind = Kind("libx265", "yuv444p10le", tags=tags, size=size, options=(("x265-params", "log-level=error"),))
    picture = next(PictureReader(write_kind(tmp_path / "a.mp4", kind)).forwards())
    image = picture.rgb.copy()
    image[16:40, 24:64] = (180, 120, 100)  # skin, as a BT.709 screen shows it
    changed = Picture(picture.changed(image), picture.look, picture.turn)
    assert np.abs(changed.rgb[18:38, 26:62].astype(int) - (180, 120, 100)).mean() < 1.5
    for before, after in zip(plane_arrays(picture.frame), plane_arrays(changed.frame)):
        assert (before[:8] == after[:8]).all()
        assert (before[56:] == after[56:]).all()
        assert (before[:, 80:] == after[:, 80:]).all()


@pytest.mark.parametrize("tags", [PQ_TAGS, HLG_TAGS])
def test_sdr_on_request_is_bt709_and_looks_as_the_network_sees_it(tmp_path: Path, tags: tuple[int, int, int]) -> None:
    kind = Kind("libx265", "yuv420p10le", tags=tags, options=(("x265-params", "log-level=error"),))
    path = write_kind(tmp_path / "a.mp4", kind)
    kept, converted = (next(PictureReader(path, sdr=sdr).forwards()) for sdr in (False, True))
    look = converted.look
    assert (look.matrix, look.primaries, look.transfer, look.color_range, look.pixel_format) == (1, 1, 1, 1, "yuv420p")
    assert look.hdr is None
    assert np.abs(converted.rgb.astype(int) - kept.rgb).mean() < 1.5
    # Made from a BT.709 picture: it comes back.
    assert np.abs(kept.rgb.astype(int) - scene(0, 96, 64)).mean() < 4


def test_sdr_on_request_leaves_bt709_alone(tmp_path: Path) -> None:
    path = encoded(tmp_path / "a.mp4", "yuv422p")
    plain, asked = (next(PictureReader(path, sdr=sdr).forwards()) for sdr in (False, True))
    assert same_planes(plain, asked)
    assert plain.look == asked.look
