"""What a file's pictures are, told from the first one."""

from pathlib import Path

import pytest
from picture_kinds import HLG_TAGS, PQ_TAGS, Kind, write_kind
from PIL import Image

from latentsync.errors import UserError
from latentsync.media.traits import picture_traits

QUIET = (("x265-params", "log-level=error"),)


@pytest.mark.parametrize(
    ("kind", "alpha", "expected"),
    [
        (Kind("libx264", "yuv420p"), False, ("yuv420p", False, False)),
        (Kind("libx265", "yuv420p12le", tags=PQ_TAGS, options=QUIET), False, ("yuv420p12le", False, True)),
        (Kind("libx265", "yuv444p10le", tags=HLG_TAGS, options=QUIET), False, ("yuv444p10le", False, True)),
        (Kind("libx264", "yuv420p", fields="bottom"), False, ("yuv420p", True, False)),
        (Kind("libvpx-vp9", "yuva420p", ".webm"), True, ("yuva420p", False, False)),
        (Kind("ffv1", "bgr0"), False, ("yuv444p10le", False, False)),
    ],
)
def test_a_video_tells_its_kind(tmp_path: Path, kind: Kind, alpha: bool, expected: tuple[str, bool, bool]) -> None:
    traits = picture_traits(write_kind(tmp_path / f"a{kind.suffix}", kind, alpha=alpha))
    assert (traits.pixel_format, traits.interlaced, traits.wide) == expected
    assert (traits.width, traits.height) == kind.size
    assert not traits.dynamic


@pytest.mark.parametrize(("mode", "expected"), [("RGB", "yuv420p"), ("RGBA", "yuva420p")])
def test_a_picture_tells_its_kind(tmp_path: Path, mode: str, expected: str) -> None:
    Image.new(mode, (8, 8)).save(tmp_path / "a.png")
    assert picture_traits(tmp_path / "a.png").pixel_format == expected


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing that plays")
    with pytest.raises(UserError, match=r"a\.mp4'"):
        picture_traits(tmp_path / "a.mp4")
