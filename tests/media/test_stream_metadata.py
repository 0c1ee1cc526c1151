"""What a container tells beside the codec: the part that is shown, and how it was mastered."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from picture_kinds import MASTERING, PQ_TAGS, Kind, scene, write_kind

from latentsync.media import PictureReader, VideoLook, VideoWriter, read_frames
from latentsync.media.picture import plane_arrays
from latentsync.media.stream_metadata import crop_box


def odd_copy(tmp_path: Path, suffix: str, codec: str, crf: int = 8, fields: str | None = None) -> Path:
    """95 × 63 pixels of 4:2:0, which x264 and x265 take as 96 × 64 alone."""
    kind = Kind("libvpx-vp9", "yuv420p", size=(95, 63))
    if fields:
        kind = Kind("prores_ks", "yuv422p10le", ".mov", size=(95, 63), fields=fields)
    before = list(PictureReader(write_kind(tmp_path / f"a{kind.suffix}", kind, count=12)).forwards())
    look = before[0].look
    with VideoWriter(tmp_path / f"b{suffix}", 95, 63, 25, crf=crf, codec=codec, look=look) as writer:
        for picture in before:
            writer.write_frame(picture.unchanged(), picture.pts, picture.duration)
    return tmp_path / f"b{suffix}"


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_an_odd_size_is_told_as_a_crop_and_the_pictures_are_whole(tmp_path: Path, suffix: str, codec: str) -> None:
    path = odd_copy(tmp_path, suffix, codec)
    data = path.read_bytes()
    assert crop_box(95, 63, 96, 64) in data
    place = data.index(b"clap") + 4
    assert struct.unpack(">IIIIiIiI", data[place : place + 32]) == (95, 1, 63, 1, -1, 2, -1, 2)
    images = [frame.image for frame in read_frames(path)]
    assert len(images) == 12
    for number, image in enumerate(images):
        assert np.abs(image[:63, :95].astype(int) - scene(number, 95, 63)).mean() < 3


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_matroska_tells_the_crop_too(tmp_path: Path, codec: str) -> None:
    data = odd_copy(tmp_path, ".mkv", codec).read_bytes()
    for element in (b"\x54\xaa\x81\x01", b"\x54\xdd\x81\x01"):  # PixelCropBottom, PixelCropRight: 1
        assert element in data
    assert len(list(read_frames(tmp_path / "b.mkv"))) == 12


def test_an_even_size_has_no_crop(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 96, 64, 25) as writer:
        writer.write(scene(0, 96, 64))
    assert b"clap" not in (tmp_path / "a.mp4").read_bytes()


def test_a_cropped_video_keeps_rate_times_rotation_tag_and_lossless_planes(tmp_path: Path) -> None:
    turned = (0, 65536, 0, -65536, 0, 0, 63 * 65536, 0, 1 << 30)
    look = VideoLook(95, 63, rate=25, display_matrix=turned)
    frames = [av.VideoFrame.from_ndarray(scene(n, 95, 63), format="rgb24").reformat(format="yuv420p") for n in range(6)]
    with VideoWriter(tmp_path / "a.mp4", 95, 63, 25, crf=0, codec="hevc", look=look) as writer:
        for number, frame in enumerate(frames):
            writer.write_frame(frame, 2 * number, 2)
    pictures = list(PictureReader(tmp_path / "a.mp4").forwards())
    assert [float(p.pts * p.look.time_base) for p in pictures] == pytest.approx([n * 2 / 25 for n in range(6)])
    assert pictures[0].look.display_matrix == turned
    for frame, picture in zip(frames, pictures, strict=True):
        for before, after in zip(plane_arrays(frame), plane_arrays(picture.frame)):
            assert (before == after[: before.shape[0], : before.shape[1]]).all()
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize("first", ["top", "bottom"])
def test_a_cropped_video_can_be_interlaced(tmp_path: Path, first: str) -> None:
    path = odd_copy(tmp_path, ".mp4", "h264", fields=first)
    assert next(PictureReader(path).forwards()).look.fields == first
    assert b"clap" in path.read_bytes()


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_prores_tells_how_hdr_was_mastered(tmp_path: Path, suffix: str) -> None:
    params = f"log-level=error:master-display={MASTERING}:max-cll=1000,400"
    kind = Kind("libx265", "yuv420p10le", tags=PQ_TAGS, options=(("x265-params", params),))
    before = list(PictureReader(write_kind(tmp_path / "a.mp4", kind)).forwards())
    look = before[0].look
    with VideoWriter(tmp_path / f"b{suffix}", 96, 64, 25, codec="prores", look=look) as writer:
        for picture in before:
            writer.write_frame(picture.unchanged(), picture.pts, picture.duration)
    new = next(PictureReader(tmp_path / f"b{suffix}").forwards()).look
    assert new.hdr == look.hdr
    assert (new.matrix, new.primaries, new.transfer) == PQ_TAGS
