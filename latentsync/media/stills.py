"""Pictures as arrays: upright, in sRGB, with or without their transparency; and the frames of animated ones."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from latentsync.errors import UserError
from latentsync.media.picture import Picture
from latentsync.media.picture_maker import still_picture
from latentsync.work.files import written_whole

# Photographs can hold a preview as a second frame; only in these are frames an animation.
_ANIMATED_KINDS = frozenset({"WEBP", "PNG", "GIF"})
_MILLISECOND = Fraction(1, 1000)
_USUAL_DURATION = 100  # ms; what browsers take where a file says 10 or less
_FRAMES_AT_LEAST = 16


def read_image(path: str | Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 sRGB: turned as its EXIF says, transparency laid on white, 16 bits brought to 8.

    Raises UserError for a missing file or one that is not a picture.
    """
    with _opened(path) as stored:
        return _on_white(_srgb(ImageOps.exif_transpose(stored)))


def read_image_with_alpha(path: str | Path) -> np.ndarray:
    """As `read_image`, but transparency is kept where there is some: (H, W, 3) or (H, W, 4) uint8."""
    with _opened(path) as stored:
        upright = ImageOps.exif_transpose(stored)
        return _with_alpha(_srgb(upright)) if upright.has_transparency_data else _on_white(_srgb(upright))


def write_picture(path: str | Path, image: np.ndarray) -> None:
    """An image (H, W, 3) uint8 RGB as a PNG that appears when it is complete."""
    with written_whole(path) as part:
        Image.fromarray(image).save(part, format="PNG")


def has_alpha(path: str | Path) -> bool:
    """Whether some of a picture can be seen through. Raises UserError as `read_image` does."""
    with _opened(path) as stored:
        return bool(stored.has_transparency_data) and int(np.asarray(stored.convert("RGBA"))[..., 3].min()) < 255


def is_animated(path: str | Path) -> bool:
    """Whether a picture file holds several frames to be played. Raises UserError as `read_image` does."""
    with _opened(path) as stored:
        return stored.format in _ANIMATED_KINDS and getattr(stored, "n_frames", 1) > 1


class AnimationReader:
    """The frames of an animated WebP, PNG or GIF, as `PictureReader` gives those of a video; the animation runs once.

    keep_alpha: pictures have a plane for transparency, where the file has some; else it is laid on white.
    """

    def __init__(self, path: str | Path, keep_alpha: bool = False) -> None:
        self.path = Path(path)
        self._keep_alpha = keep_alpha and has_alpha(path)
        self._count = 0
        self._size: tuple[int, int, int] = (0, 0, 0)

    def __len__(self) -> int:
        """How many pictures the first run forwards has met so far."""
        return self._count

    @property
    def durations(self) -> list[int]:
        """Of each frame, in ms."""
        with _opened(self.path) as stored:
            return [_duration(stored) for _ in _frames(stored)]

    def forwards(self) -> Iterator[Picture]:
        """All pictures in the order shown. Raises UserError, when iterated, for a frame that cannot be decoded."""
        for number, picture in enumerate(self._pictures()):
            self._count = max(self._count, number + 1)
            yield picture

    def backwards(self, buffer_bytes: int) -> Iterator[Picture]:
        """All pictures that `forwards` has met, last to first; at most about `buffer_bytes` of them are held."""
        limit = max(_FRAMES_AT_LEAST, buffer_bytes // max(1, int(np.prod(self._size))))
        stop = self._count
        while stop > 0:
            start = max(0, stop - limit)
            stretch = [picture for number, picture in enumerate(self._pictures()) if start <= number < stop]
            yield from reversed(stretch)
            stop = start

    def _pictures(self) -> Iterator[Picture]:
        pts = 0
        with _opened(self.path) as stored:
            rate = _rate([_duration(stored) for _ in _frames(stored)])
            for number in _frames(stored):
                picture = _srgb(stored)
                image = _with_alpha(picture) if self._keep_alpha else _on_white(picture)
                self._size = image.shape
                duration = _duration(stored)
                yield still_picture(image, _MILLISECOND, rate, pts, duration, key=number == 0)
                pts += duration


def _rate(durations: list[int]) -> Fraction:
    return Fraction(1000 * len(durations), sum(durations)).limit_denominator(1001)


def _duration(stored: Image.Image) -> int:
    """Of the current frame, in ms."""
    told = float(stored.info.get("duration", 0) or 0)
    return round(told) if told > 10 else _USUAL_DURATION


def _frames(stored: Image.Image) -> Iterator[int]:
    """Go through the frames, each loaded."""
    for number in range(getattr(stored, "n_frames", 1)):
        stored.seek(number)
        stored.load()
        yield number


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """An open picture; what is wrong with it, in one line."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"input '{path}': no such file; check the path")
    try:
        with Image.open(path) as stored:
            yield stored
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"input '{path}': cannot be read as a picture ({error}); give .jpg, .png, .bmp or .webp"
        ) from error


def _srgb(picture: Image.Image) -> Image.Image:
    """Mode RGB or RGBA, in sRGB: a photograph can have a profile of its own (Display P3, Adobe RGB)."""
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I"):  # 16-bit grey; Pillow itself would clip it at 255
        grey = np.asarray(picture).astype(np.float64) / 257
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    see_through = picture.has_transparency_data
    plain = picture.convert("RGBA") if see_through else picture
    if profile and plain.mode in ("RGB", "CMYK", "L", "RGBA"):
        colours = plain.convert("RGB") if plain.mode == "RGBA" else plain
        try:
            converted = ImageCms.profileToProfile(
                colours, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # a damaged profile, or one of another colour space: as if there were none
        if converted is not None:
            if see_through:
                converted.putalpha(plain.getchannel("A"))
            return converted
    return plain if see_through else plain.convert("RGB")


def _on_white(picture: Image.Image) -> np.ndarray:
    if picture.mode == "RGBA":
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))


def _with_alpha(picture: Image.Image) -> np.ndarray:
    return np.array(picture.convert("RGBA"))
