"""Reading pictures and videos: upright, in time, or refused with one clear line."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from latentsync.errors import UserError
from latentsync.media import VideoWriter, encode_clip, encode_wav, probe_video, read_frames, read_frames_at, read_image
from latentsync.media.orientation import Orientation


def corner_picture(height: int = 48, width: int = 64) -> np.ndarray:
    """Grey with a red top-left, green top-right and blue bottom-left corner, 16 pixels each."""
    image = np.full((height, width, 3), 128, np.uint8)
    image[:16, :16], image[:16, -16:], image[-16:, :16] = (220, 30, 30), (30, 220, 30), (30, 30, 220)
    return image


def corners(image: np.ndarray) -> list[int]:
    """Which colour leads at top-left, top-right, bottom-left (0 red, 1 green, 2 blue)."""
    return [int(image[y, x].argmax()) for y, x in ((8, 8), (8, -8), (-8, 8))]


def counted_video(path: Path, count: int, fps: Fraction | int, seconds: list[float] | None = None) -> Path:
    """Frame i has level 8·i; at given time stamps, or at a constant rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": "5", "bf": "0"})
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000) if seconds else 1 / Fraction(fps)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 8 * index, np.uint8), format="rgb24")
            frame.time_base = stream.codec_context.time_base
            frame.pts = round(seconds[index] * 1000) if seconds else index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def numbers(images: list[np.ndarray]) -> list[int]:
    return [round(float(image.mean()) / 8) for image in images]


@pytest.mark.parametrize(("degrees", "expected"), [(0, [0, 1, 2]), (90, None), (180, None), (270, None)])
def test_a_turned_video_is_read_upright(tmp_path: Path, degrees: int, expected: list[int] | None) -> None:
    picture = corner_picture()
    stored = np.ascontiguousarray(np.rot90(picture, degrees // 90))  # stored counter-clockwise, shown clockwise
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = stored.shape[1], stored.shape[0], "yuv420p"
        stream.set_display_rotation(-degrees)
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    image = next(iter(read_frames(path))).image
    assert image.shape == picture.shape
    assert image.flags.c_contiguous
    assert corners(image) == [0, 1, 2]
    info = probe_video(path)
    assert (info.width, info.height, info.rotation) == (64, 48, degrees)


def test_mirrored_orientations_undo_themselves() -> None:
    picture = corner_picture()
    assert corners(Orientation(flip_x=True).upright(picture[:, ::-1])) == [0, 1, 2]
    assert corners(Orientation(transpose=True).upright(picture.transpose(1, 0, 2))) == [0, 1, 2]


def test_times_start_at_zero_and_follow_the_stamps(tmp_path: Path) -> None:
    seconds = [0.5, 0.54, 0.7, 0.72]
    times = [frame.time for frame in read_frames(counted_video(tmp_path / "a.mp4", 4, 25, seconds))]
    assert times == pytest.approx([0, 0.04, 0.2, 0.22], abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    ("count", "fps", "expected"),
    [
        (10, 25, list(range(10))),
        (12, 30, [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]),  # 0.4 s; k/25 s shows frame floor(1.2·k)
        (5, Fraction(25, 2), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]),
        (1, 25, [0]),
    ],
)
def test_a_video_of_any_rate_becomes_25_frames_a_second(
    tmp_path: Path, suffix: str, count: int, fps: Fraction | int, expected: list[int]
) -> None:
    path = counted_video(tmp_path / f"a{suffix}", count, fps)
    frames = list(read_frames_at(path, 25))
    assert numbers([frame.image for frame in frames]) == expected == [frame.number for frame in frames]
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert all(frame.time <= frame.index / 25 + 2e-3 for frame in frames), "no picture before its time"


def test_a_stalled_video_repeats_its_last_picture_in_time(tmp_path: Path) -> None:
    path = counted_video(tmp_path / "a.mp4", 4, 25, [0, 0.04, 0.2, 0.24])
    assert numbers([frame.image for frame in read_frames_at(path, 25)]) == [0, 1, 1, 1, 1, 2, 3]


def test_reading_keeps_one_frame_at_a_time(tmp_path: Path) -> None:
    frames = read_frames(counted_video(tmp_path / "a.mp4", 10, 25))
    assert next(frames).image.mean() < 4  # a generator: nothing else is decoded, and it can be left
    frames.close()


def test_a_real_portrait_gives_contiguous_frames(shared: Path) -> None:
    frame = next(iter(read_frames(shared / "assets" / "clips" / "demo1_video.mp4")))
    assert frame.image.shape == (1920, 1080, 3)
    assert frame.image.flags.c_contiguous


def test_a_truncated_mp4_is_refused_wherever_its_index_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(10)]
    behind = tmp_path / "behind.mp4"
    data = encode_clip(noisy)
    behind.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"behind\.mp4': not a media file, or cut off"):
        list(read_frames(behind))
    front = tmp_path / "front.mp4"
    with VideoWriter(front, 64, 64, 25) as writer:
        for frame in noisy:
            writer.write(frame)
    front.write_bytes(front.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"front\.mp4': cut off, the last 1000 bytes are missing"):
        list(read_frames(front))


def test_damage_in_the_middle_is_named_with_its_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = bytearray(encode_clip([rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(30)]))
    half = len(data) // 2
    data[half : half + 4000] = bytes(i * 7 % 256 for i in range(4000))
    path = tmp_path / "hurt.mp4"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"hurt\.mp4': cannot be decoded after \d\.\d\d s"):
        list(read_frames(path))


def test_what_is_no_video_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "sound.wav").write_bytes(encode_wav(np.zeros(16000, np.float32), 16000))
    for name, words in {
        "absent.mp4": "no such file",
        "text.mp4": "not a media file",
        "empty.mp4": "file is empty",
        "sound.wav": "no video stream",
        "": "is a folder",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            list(read_frames(tmp_path / name))
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "bmp", "webp"])
def test_a_picture_of_each_kind_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    picture = corner_picture()
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(picture).save(path)
    image = read_image(path)
    assert image.shape == picture.shape
    assert image.dtype == np.uint8
    assert corners(image) == [0, 1, 2]


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    stored = Image.fromarray(corner_picture()).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn 90° clockwise to show"
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    assert corners(read_image(tmp_path / "a.jpg")) == [0, 1, 2]


def test_transparency_becomes_white_and_grey_becomes_rgb(tmp_path: Path) -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:, :4] = (200, 10, 10, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image[0, 0].tolist() == [200, 10, 10]
    assert image[0, 7].tolist() == [255, 255, 255]
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == 77).all()


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png") == 100).all()


def test_what_is_no_picture_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    buffer = io.BytesIO()
    Image.fromarray(corner_picture()).save(buffer, "png")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:100])
    for name, words in {
        "absent.png": "no such file",
        "text.png": "cannot be read",
        "cut.png": "cannot be read",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
