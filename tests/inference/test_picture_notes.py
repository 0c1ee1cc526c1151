"""What is said of pictures before anything is begun."""

from pathlib import Path

import pytest

from latentsync.errors import UserError
from latentsync.inference.options import LipSyncOptions
from latentsync.inference.picture_notes import check_codec, deinterlaces, picture_notes, stores_alpha
from latentsync.media.traits import Traits

SOURCE = Path("a.mkv")


def notes(traits: Traits, output: str = "b.mp4", **options: object) -> tuple[str, ...]:
    return picture_notes(SOURCE, traits, LipSyncOptions(**options), Path(output))


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv420p12le", "yuv444p10le"])
def test_nothing_is_said_where_all_is_kept(pixel_format: str) -> None:
    assert notes(Traits(pixel_format)) == ()


@pytest.mark.parametrize(
    ("traits", "options", "words"),
    [
        (Traits("yuva420p"), {}, "transparency is left out"),
        (Traits("yuv420p10le"), {"codec": "vp9"}, "10 bits become 8 (codec=hevc"),
        (
            Traits("yuv420p10le", wide=True),
            {"codec": "vp9"},
            "10 bits become 8, which shows as 1 to 2 levels (codec=hevc",
        ),
        (Traits("yuv444p"), {"codec": "av1"}, "4:4:4 to 4:2:0"),
        (Traits("yuv420p", interlaced=True), {"codec": "hevc"}, "deinterlaced"),
        (Traits("yuv420p10le", wide=True, dynamic=True), {}, "Dolby Vision"),
    ],
)
def test_what_is_lost_is_said_in_one_line_with_the_file(traits: Traits, options: dict[str, str], words: str) -> None:
    (line,) = notes(traits, **options)
    assert line.startswith("input 'a.mkv': ")
    assert words in line
    assert "\n" not in line


def test_what_was_asked_for_needs_no_line() -> None:
    assert notes(Traits("yuv420p", interlaced=True), codec="hevc", deinterlace=True) == ()
    assert notes(Traits("yuv420p10le", wide=True, dynamic=True), color="sdr") == ()
    assert notes(Traits("yuva420p"), "b.mov", codec="prores") == ()
    assert notes(Traits("yuva420p"), "b.mkv", codec="vp9") == ()


def test_a_container_without_a_place_for_the_codec_is_refused() -> None:
    with pytest.raises(UserError, match=r"codec=prores cannot be stored in '\.mp4'; give \.mov or \.mkv"):
        check_codec("prores", Path("b.mp4"))
    check_codec("prores", Path("b.MOV"))


def test_codecs_decide_on_fields_and_transparency() -> None:
    assert not deinterlaces(LipSyncOptions())
    assert deinterlaces(LipSyncOptions(codec="hevc"))
    assert deinterlaces(LipSyncOptions(deinterlace=True))
    assert stores_alpha(LipSyncOptions(codec="vp9"), Path("b.mkv"))
    assert not stores_alpha(LipSyncOptions(codec="vp9"), Path("b.mp4"))
