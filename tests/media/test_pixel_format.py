"""Which format of an encoder loses least."""

import av
import pytest

from latentsync.media.pixel_format import is_planar_yuv, losses, nearest_format, pixel_format, working_format

SOURCES = (
    "yuv420p", "yuvj420p", "nv12", "p010le", "yuyv422", "yuv411p", "yuv440p", "rgb24", "rgba", "rgb48be", "pal8",
    "gray", "gray10le", "ya8", "gbrp", "gbrp10le", "gbrpf32le", "yuva420p", "yuva444p12le", "yuv420p12le",
    "yuv444p16le", "yuv422p10be", "monow", "vuya",
)  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_pictures_are_worked_on_in_planes_that_keep_all_of_them(name: str) -> None:
    has, work = pixel_format(name), pixel_format(working_format(name))
    assert is_planar_yuv(work.name)
    assert work.depth >= min(has.depth, 12)
    assert work.narrower <= has.narrower or has.grey
    assert work.lower <= has.lower or has.grey
    assert work.alpha == has.alpha


@pytest.mark.parametrize(
    ("name", "codec", "nearest"),
    [
        ("yuv420p12le", "h264", "yuv420p10le"),
        ("yuv420p12le", "hevc", "yuv420p12le"),
        ("yuv444p10le", "h264", "yuv444p10le"),
        ("yuv422p10le", "hevc", "yuv422p10le"),
        ("yuv411p", "h264", "yuv422p"),
        ("yuv440p", "h264", "yuv444p"),
        ("yuv420p9le", "h264", "yuv420p10le"),
        ("yuv420p", "prores", "yuv422p10le"),
        ("yuv444p12le", "prores", "yuv444p10le"),
        ("yuva420p", "prores", "yuva444p10le"),
        ("yuva444p12le", "vp9", "yuva420p"),
        ("yuv444p10le", "av1", "yuv420p10le"),
    ],
)
def test_the_nearest_format_loses_nothing_that_it_need_not(name: str, codec: str, nearest: str) -> None:
    assert nearest_format(name, codec, keep_alpha=True) == nearest


def test_transparency_is_not_stored_where_the_container_has_no_place_for_it() -> None:
    assert nearest_format("yuva420p", "vp9", keep_alpha=False) == "yuv420p"
    assert losses("yuva420p", "vp9", "webm") == losses("yuva420p", "prores", "mov") == []
    assert "codec=prores" in losses("yuva420p", "vp9", "mp4")[0]


@pytest.mark.parametrize(
    ("name", "codec", "words"),
    [
        ("yuva420p", "h264", "transparency is left out"),
        ("yuv444p", "av1", "chroma goes from 4:4:4 to 4:2:0"),
        ("yuv420p10le", "vp9", "10 bits become 8"),
    ],
)
def test_what_is_lost_is_said(name: str, codec: str, words: str) -> None:
    (line,) = losses(name, codec, "matroska")
    assert words in line


@pytest.mark.parametrize("name", ["yuv420p", "yuv420p10le", "yuv420p12le", "yuv444p10le", "yuv422p"])
def test_h264_loses_nothing_worth_a_word(name: str) -> None:
    assert losses(name, "h264", "mp4") == []


@pytest.mark.parametrize("codec", ["h264", "hevc", "prores", "vp9", "av1"])
def test_every_format_in_the_table_is_one_of_the_encoders(codec: str) -> None:
    from latentsync.media.pixel_format import _OF_CODEC
    from latentsync.media.video_stream import _ENCODERS

    known = {kind.name for kind in av.Codec(_ENCODERS[codec], "w").video_formats or ()}
    assert set(_OF_CODEC[codec]) <= known
