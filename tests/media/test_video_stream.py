"""What a written video keeps of its source: format, tags, range, fields, size, transparency, metadata, colours."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
from picture_kinds import BT601_TAGS, HLG_TAGS, MASTERING, PQ_TAGS, Kind, write_kind

from latentsync.media import PictureReader, VideoWriter
from latentsync.media.picture import Picture, plane_arrays
from latentsync.media.pixel_format import pixel_format, plain_name

QUIET = ("x265-params", "log-level=error")


def copied(source: Path, target: Path, codec: str = "h264", crf: int = 2, **reading: bool) -> list[list[Picture]]:
    """All pictures of a video, and of its copy."""
    before = list(PictureReader(source, **reading).forwards())
    look = before[0].look
    with VideoWriter(target, look.width, look.height, look.rate, crf=crf, codec=codec, look=look) as writer:
        for picture in before:
            writer.write_frame(picture.changed(picture.rgb), picture.pts, picture.duration)
    return [before, list(PictureReader(target).forwards())]


def mean_difference(before: list[Picture], after: list[Picture]) -> float:
    """Levels of 8 bits on a screen; of what both have."""
    worst = 0.0
    for one, other in zip(before, after, strict=True):
        height, width = one.rgb.shape[:2]
        worst = max(worst, float(np.abs(one.rgb.astype(int) - other.rgb[:height, :width]).mean()))
    return worst


KEPT = {
    "12 bits PQ": (Kind("libx265", "yuv420p12le", tags=PQ_TAGS, options=(QUIET,)), "h264", ".mp4", "yuv420p10le"),
    "12 bits PQ hevc": (Kind("libx265", "yuv420p12le", tags=PQ_TAGS, options=(QUIET,)), "hevc", ".mp4", "yuv420p12le"),
    "10 bits HLG 4:4:4 odd": (
        Kind("libx265", "yuv444p10le", tags=HLG_TAGS, size=(97, 63), options=(QUIET,)), "h264", ".mp4", "yuv444p10le",
    ),
    "ProRes": (Kind("prores_ks", "yuv422p10le", ".mov"), "h264", ".mp4", "yuv422p10le"),
    "ProRes to itself": (Kind("prores_ks", "yuv422p10le", ".mov"), "prores", ".mov", "yuv422p10le"),
    "ProRes to hevc": (Kind("prores_ks", "yuv422p10le", ".mov"), "hevc", ".mov", "yuv422p10le"),
    "HLG to prores": (
        Kind("libx265", "yuv420p10le", tags=HLG_TAGS, options=(QUIET,)), "prores", ".mov", "yuv422p10le"
    ),
    "full range": (Kind("libx264", "yuv420p", full=True, tags=BT601_TAGS), "hevc", ".mkv", "yuv420p"),
    "full range vp9": (Kind("libx264", "yuv444p", full=True, tags=BT601_TAGS), "vp9", ".mkv", "yuv444p"),
    "BT.601 av1": (Kind("libx264", "yuv420p", tags=BT601_TAGS), "av1", ".mp4", "yuv420p"),
    "PQ av1": (Kind("libx265", "yuv420p10le", tags=PQ_TAGS, options=(QUIET,)), "av1", ".mkv", "yuv420p10le"),
    "4:4:4 odd": (Kind("libx264", "yuv444p", size=(95, 63)), "h264", ".mkv", "yuv444p"),
    "4:2:0 odd vp9": (Kind("libvpx-vp9", "yuv420p", size=(95, 63)), "vp9", ".mkv", "yuv420p"),
    "4:1:1": (Kind("ffv1", "yuv411p"), "h264", ".mp4", "yuv422p"),
    "4:4:0": (Kind("libvpx-vp9", "yuv440p"), "h264", ".mp4", "yuv444p"),
    "grey": (Kind("ffv1", "gray"), "h264", ".mp4", "yuv420p"),
    "14 bits": (Kind("ffv1", "yuv420p14le"), "hevc", ".mp4", "yuv420p12le"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_a_copy_has_the_nearest_format_the_tags_the_size_and_the_colours(tmp_path: Path, name: str) -> None:
    kind, codec, suffix, expected = KEPT[name]
    source = write_kind(tmp_path / f"a{kind.suffix}", kind)
    before, after = copied(source, tmp_path / f"b{suffix}", codec)
    look, new = before[0].look, after[0].look
    assert plain_name(new.pixel_format) == expected
    assert (new.matrix, new.primaries, new.transfer) == (look.matrix, look.primaries, look.transfer) == kind.tags
    assert new.color_range == look.color_range == (2 if kind.full else 1)
    assert (new.width, new.height) == kind.size
    # SVT-AV1 smooths grain away at any quality; a wrong tag or matrix would cost 20 levels.
    assert mean_difference(before, after) <= (2 if codec == "av1" else 1)


@pytest.mark.parametrize(
    ("codec", "suffix"), [("h264", ".mp4"), ("h264", ".mkv"), ("hevc", ".mp4"), ("hevc", ".mov"), ("av1", ".mp4")]
)
def test_hdr10_metadata_is_passed_on(tmp_path: Path, codec: str, suffix: str) -> None:
    params = f"log-level=error:master-display={MASTERING}:max-cll=1000,400"
    kind = Kind("libx265", "yuv420p10le", tags=PQ_TAGS, options=(("x265-params", params),))
    before, after = copied(write_kind(tmp_path / "a.mp4", kind), tmp_path / f"b{suffix}", codec)
    told = before[0].look.hdr
    assert told is not None
    assert told.mastering_text() == MASTERING
    assert told.light_level == (1000, 400)
    new = after[0].look.hdr
    assert new is not None
    assert new.light_level == told.light_level
    assert np.abs(np.subtract(new.primaries, told.primaries)).max() <= 1
    assert new.luminance == pytest.approx(told.luminance, rel=0.01, abs=10)


@pytest.mark.parametrize("first", ["top", "bottom"])
@pytest.mark.parametrize(("codec", "suffix"), [("h264", ".mp4"), ("h264", ".mkv"), ("prores", ".mov")])
def test_the_field_order_of_interlaced_pictures_stays(tmp_path: Path, codec: str, suffix: str, first: str) -> None:
    source = write_kind(tmp_path / "a.mkv", Kind("libx264", "yuv420p", fields=first))
    before, after = copied(source, tmp_path / f"b{suffix}", codec)
    assert before[0].look.fields == after[0].look.fields == first
    assert mean_difference(before, after) <= 1


def test_progressive_pictures_are_not_marked(tmp_path: Path) -> None:
    _, after = copied(write_kind(tmp_path / "a.mkv", Kind("libx264", "yuv420p")), tmp_path / "b.mp4")
    assert after[0].look.fields is None


@pytest.mark.parametrize(("codec", "suffix"), [("prores", ".mov"), ("prores", ".mkv"), ("vp9", ".mkv")])
@pytest.mark.parametrize(
    ("encoder", "name", "source"), [("libvpx-vp9", "yuva420p", ".webm"), ("prores_ks", "yuva444p10le", ".mov")]
)
def test_transparency_is_kept_where_it_has_a_place(
    tmp_path: Path, encoder: str, name: str, source: str, codec: str, suffix: str
) -> None:
    options = (("profile", "4"),) if encoder == "prores_ks" else ()
    path = write_kind(tmp_path / f"a{source}", Kind(encoder, name, options=options), alpha=True)
    before, after = copied(path, tmp_path / f"b{suffix}", codec)
    for picture in (before[-1], after[-1]):
        kind = pixel_format(picture.look.pixel_format)
        assert kind.alpha
        alpha = plane_arrays(picture.frame)[3] / kind.largest * 255
        assert alpha[:, :40].mean() == pytest.approx(64, abs=2)
        assert alpha[:, 56:].mean() == pytest.approx(255, abs=1)


def test_transparency_without_a_place_leaves_the_colours_as_they_are(tmp_path: Path) -> None:
    path = write_kind(tmp_path / "a.mov", Kind("prores_ks", "yuva444p10le", options=(("profile", "4"),)), alpha=True)
    before, after = copied(path, tmp_path / "b.mp4")
    assert after[0].look.pixel_format == "yuv444p10le"
    assert mean_difference(before, after) <= 1


@pytest.mark.parametrize(("encoder", "name"), [("ffv1", "bgr0"), ("ffv1", "gbrp10le"), ("qtrle", "rgb24")])
def test_rgb_goes_to_a_matrix_without_loss_of_chroma(tmp_path: Path, encoder: str, name: str) -> None:
    with av.open(str(tmp_path / "a.mov" if encoder == "qtrle" else tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, name
        noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=name)
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        path = Path(container.name)
    (picture,), _ = copied(path, tmp_path / "b.mp4")
    assert pixel_format(picture.look.pixel_format).sampling == "4:4:4"
    assert np.abs(picture.rgb.astype(int) - noise).max() <= 1


def test_an_odd_size_that_the_encoder_refuses_grows_by_repeated_lines(tmp_path: Path) -> None:
    before, after = copied(
        write_kind(tmp_path / "a.mkv", Kind("libvpx-vp9", "yuv420p", size=(95, 63))), tmp_path / "b.mp4"
    )
    assert (before[0].look.width, before[0].look.height) == (95, 63)
    assert after[0].rgb.shape in ((64, 96, 3), (63, 95, 3))
    assert mean_difference(before, after) <= 1


def test_interlaced_pictures_of_any_height_can_be_written(tmp_path: Path) -> None:
    source = write_kind(tmp_path / "a.mov", Kind("prores_ks", "yuv422p10le", fields="top", size=(96, 62)))
    before, after = copied(source, tmp_path / "b.mp4")
    assert after[0].look.fields == "top"
    assert mean_difference(before, after) <= 1


def test_the_encoder_says_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write_kind(tmp_path / "a.mkv", Kind("libx264", "yuv420p"))
    capfd.readouterr()
    for codec, suffix in (("hevc", ".mp4"), ("av1", ".mp4"), ("vp9", ".mkv"), ("prores", ".mov")):
        copied(source, tmp_path / f"b{suffix}", codec)
    told = capfd.readouterr()
    assert told.out + told.err == ""


def test_a_lossless_copy_is_the_same_to_the_bit_in_every_codec_that_has_it(tmp_path: Path) -> None:
    source = write_kind(tmp_path / "a.mkv", Kind("libx264", "yuv420p"))
    for codec in ("h264", "hevc", "vp9", "av1"):
        before, after = copied(source, tmp_path / f"{codec}.mkv", codec, crf=0)
        for one, other in zip(before, after, strict=True):
            assert all((a == b).all() for a, b in zip(plane_arrays(one.frame), plane_arrays(other.frame))), codec


def test_hevc_in_mp4_has_the_tag_that_players_want(tmp_path: Path) -> None:
    copied(write_kind(tmp_path / "a.mkv", Kind("libx264", "yuv420p")), tmp_path / "b.mp4", "hevc")
    with av.open(io.BytesIO((tmp_path / "b.mp4").read_bytes())) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize(
    ("name", "pixel_format_", "tags", "size"),
    [
        ("hdr10.mp4", "yuv420p10le", (9, 9, 16), (360, 288)),
        ("hdr12.mp4", "yuv420p10le", (9, 9, 16), (360, 288)),
        ("hlg_odd.mp4", "yuv444p10le", (9, 9, 18), (359, 287)),
        ("prores422.mov", "yuv422p10le", (1, 1, 1), (360, 288)),
        ("inter.mp4", "yuv420p", (2, 2, 2), (720, 576)),
        ("odd444.mp4", "yuv444p", (2, 2, 2), (359, 287)),
    ],
)
def test_the_sample_files_differ_by_less_than_a_level_at_crf_8(
    tmp_path: Path, shared: Path, name: str, pixel_format_: str, tags: tuple[int, ...], size: tuple[int, int]
) -> None:
    source = shared / "data" / "cases" / name
    if not source.is_file():
        pytest.skip("shared/data/cases is not there")
    before, after = copied(source, tmp_path / "b.mp4", crf=8)
    new = after[0].look
    assert (new.matrix, new.primaries, new.transfer) == tags
    assert (new.pixel_format, (new.width, new.height)) == (pixel_format_, size)
    assert new.fields == ("top" if name == "inter.mp4" else None)
    assert (new.hdr is not None) == (name == "hdr10.mp4")
    assert mean_difference(before, after) <= 1


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_the_shortest_videos_can_be_written(tmp_path: Path, codec: str, count: int) -> None:
    source = write_kind(tmp_path / "a.mkv", Kind("libx264", "yuv420p"), count=count)
    before, after = copied(source, tmp_path / "b.mp4", codec)
    seconds = [float(picture.pts * picture.look.time_base) for picture in after]
    assert seconds == pytest.approx([number / 25 for number in range(len(before))])
