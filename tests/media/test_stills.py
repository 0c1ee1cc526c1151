"""Still and animated pictures: colours, transparency, and frames in time."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from latentsync.errors import UserError
from latentsync.media.picture import plane_arrays
from latentsync.media.stills import AnimationReader, has_alpha, is_animated, read_image, read_image_with_alpha

COLOURS = ((200, 40, 60), (30, 180, 90), (40, 60, 210), (120, 120, 120))


def animation(path: Path, durations: list[int], mode: str = "RGB") -> Path:
    frames = [Image.new(mode, (32, 24), (*colour, 128) if mode == "RGBA" else colour) for colour in COLOURS]
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, **lossless)
    return path


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.apng", "a.gif"])
def test_an_animation_is_played_in_its_own_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    animation(tmp_path / "made.png" if name == "a.apng" else path, [100, 40, 200, 60])
    if name == "a.apng":
        (tmp_path / "made.png").rename(path)
    assert is_animated(path)
    reader = AnimationReader(path)
    pictures = list(reader.forwards())
    assert [picture.pts for picture in pictures] == [0, 100, 140, 340]
    assert [picture.duration for picture in pictures] == reader.durations == [100, 40, 200, 60]
    assert pictures[0].look.rate == 10
    for picture, colour in zip(pictures, COLOURS, strict=True):
        assert np.abs(picture.rgb.astype(int) - colour).max() <= 6  # GIF has 256 colours
    backwards = list(reader.backwards(1))
    assert [picture.pts for picture in backwards] == [340, 140, 100, 0]
    assert all((one.rgb == other.rgb).all() for one, other in zip(backwards, pictures[::-1]))


@pytest.mark.parametrize("keep", [False, True])
def test_transparency_of_an_animation_is_kept_or_laid_on_white(tmp_path: Path, keep: bool) -> None:
    picture = next(AnimationReader(animation(tmp_path / "a.webp", [40] * 4, "RGBA"), keep_alpha=keep).forwards())
    assert picture.look.pixel_format == ("yuva420p" if keep else "yuv420p")
    expected = np.array(COLOURS[0]) if keep else (np.array(COLOURS[0]) * 128 + 255 * 127) / 255
    assert np.abs(picture.rgb - expected).max() <= 2
    if keep:
        assert (plane_arrays(picture.frame)[3] == 128).all()


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.jpg", "a.gif"])
def test_a_picture_of_one_frame_is_no_animation(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (16, 16), COLOURS[0]).save(tmp_path / name)
    assert not is_animated(tmp_path / name)
    assert not has_alpha(tmp_path / name)


def test_a_photograph_with_a_preview_is_no_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in COLOURS[:2]]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.jpg") as stored:
        assert stored.n_frames == 2
    assert not is_animated(tmp_path / "a.jpg")


def test_transparency_is_given_only_where_there_is_some(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (*COLOURS[0], 100)).save(tmp_path / "clear.png")
    Image.new("RGBA", (8, 8), (*COLOURS[0], 255)).save(tmp_path / "opaque.png")
    assert has_alpha(tmp_path / "clear.png")
    assert not has_alpha(tmp_path / "opaque.png")
    assert read_image_with_alpha(tmp_path / "clear.png")[0, 0].tolist() == [*COLOURS[0], 100]
    Image.new("RGB", (8, 8), COLOURS[0]).save(tmp_path / "plain.png")
    assert read_image_with_alpha(tmp_path / "plain.png").shape == (8, 8, 3)


def test_a_colour_profile_is_brought_to_srgb(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.new("RGB", (8, 8), COLOURS[0]).save(tmp_path / "srgb.png", icc_profile=lab)
    assert np.abs(read_image(tmp_path / "srgb.png")[0, 0].astype(int) - COLOURS[0]).max() <= 1
    Image.new("RGB", (8, 8), COLOURS[0]).save(tmp_path / "hurt.png", icc_profile=b"no profile at all")
    assert read_image(tmp_path / "hurt.png")[0, 0].tolist() == list(COLOURS[0])


def test_a_damaged_animation_is_refused_in_one_line(tmp_path: Path) -> None:
    data = animation(tmp_path / "a.webp", [40] * 4).read_bytes()
    (tmp_path / "cut.webp").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"cut\.webp'"):
        list(AnimationReader(tmp_path / "cut.webp").forwards())
    with pytest.raises(UserError, match="no such file"):
        is_animated(tmp_path / "missing.webp")


def test_the_sample_animation_moves(shared: Path) -> None:
    path = shared / "data" / "cases" / "anim.webp"
    if not path.is_file():
        pytest.skip("shared/data/cases is not there")
    assert is_animated(path)
    pictures = list(AnimationReader(path).forwards())
    assert len(pictures) > 1
    assert (pictures[0].rgb != pictures[-1].rgb).any()
