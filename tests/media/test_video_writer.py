"""What the writer promises: it plays, it looks the same, it sounds the same, and it leaves no half file."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Colorspace

from latentsync.errors import UserError
from latentsync.media import ClipReader, VideoWriter, encode_clip, load_audio, probe_video, read_frames
from latentsync.media.color import RgbReader


def smooth_frames(count: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """Soft saturated gradients that drift."""
    y, x = np.mgrid[0:height, 0:width]
    return [
        np.stack(
            [128 + 90 * np.sin(x / 31 + i / 5), 128 + 90 * np.cos(y / 29), 128 + 80 * np.sin((x + y) / 40)], axis=-1
        ).astype(np.uint8)
        for i in range(count)
    ]


def tone(seconds: float, rate: int = 16000, hertz: float = 300) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.mean((first.astype(np.float64) - second.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-12)))


def write(path: Path, frames: list[np.ndarray], fps: Fraction | float | int = 25, **options: object) -> Path:
    height, width = frames[0].shape[:2]
    with VideoWriter(path, width, height, fps, **options) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def test_frames_come_back_at_38_db_without_a_colour_cast(tmp_path: Path) -> None:
    frames = smooth_frames(10)
    back = [frame.image for frame in read_frames(write(tmp_path / "a.mp4", frames))]
    assert len(back) == 10
    assert min(psnr(a, b) for a, b in zip(frames, back)) >= 38
    cast = np.mean([b.astype(float) - a for a, b in zip(frames, back)], axis=(0, 1, 2))
    assert np.abs(cast).max() < 0.5


def test_rewriting_what_was_read_does_not_drift_in_colour(tmp_path: Path) -> None:
    flat = [np.full((64, 64, 3), colour, np.uint8) for colour in ((200, 40, 60), (30, 180, 90), (40, 60, 210))]
    frames = [image for image in flat for _ in range(3)]
    for generation in range(3):
        frames = [f.image for f in read_frames(write(tmp_path / f"{generation}.mp4", frames))]
    for image, colour in zip(frames[::3], ((200, 40, 60), (30, 180, 90), (40, 60, 210))):
        assert np.abs(image.reshape(-1, 3).mean(axis=0) - colour).max() <= 3


@pytest.mark.parametrize(("matrix", "tag"), [(Colorspace.ITU601, 6), (Colorspace.ITU709, 1), (Colorspace.ITU601, 2)])
def test_a_frame_is_read_with_the_matrix_it_was_made_with(matrix: Colorspace, tag: int) -> None:
    image = np.full((64, 64, 3), (200, 40, 60), np.uint8)
    source = av.VideoFrame.from_ndarray(image, format="rgb24")
    stored = source.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range="MPEG")
    stored.colorspace = tag  # 2: untagged, and small enough to be BT.601
    assert np.abs(RgbReader()(stored).astype(int) - image).max() <= 2


def test_the_file_is_h264_yuv420p_aac_with_its_index_in_front(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", smooth_frames(25), audio=(tone(1.0), 16000))
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.pix_fmt, video.colorspace) == ("h264", "yuv420p", 1)
        assert (audio.codec_context.name, audio.rate, audio.channels) == ("aac", 16000, 1)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("fps", [25, Fraction(30000, 1001), 23.976])
def test_duration_is_frames_over_rate(tmp_path: Path, fps: Fraction | float) -> None:
    info = probe_video(write(tmp_path / "a.mp4", smooth_frames(12, 32, 32), fps))
    assert info.num_frames == 12
    assert info.duration == pytest.approx(12 / float(fps), abs=1e-3)


def test_odd_sizes_grow_by_one_repeated_line(tmp_path: Path) -> None:
    frames = smooth_frames(3, 95, 127)
    image = next(iter(read_frames(write(tmp_path / "a.mp4", frames)))).image
    assert image.shape == (96, 128, 3)
    assert psnr(image[:95, :127], frames[0]) >= 38


@pytest.mark.parametrize("sound_seconds", [0.5, 1.0, 3.0])
def test_sound_is_cut_or_filled_to_the_pictures(tmp_path: Path, sound_seconds: float) -> None:
    wave = tone(sound_seconds)
    path = write(tmp_path / "a.mp4", smooth_frames(30, 32, 32), audio=(wave, 16000))
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(1.2, abs=0.04)
    back = load_audio(path)
    both = min(len(wave), 16000)
    assert np.sqrt(np.mean((back[500 : both - 500] - wave[500 : both - 500]) ** 2)) < 0.01
    if sound_seconds < 1.2:
        assert np.abs(back[len(wave) + 2000 : 19200]).max() < 0.01


def test_a_given_sound_length_is_kept(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", smooth_frames(26, 32, 32), audio=(tone(1.01), 16000), audio_seconds=1.01)
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        assert float(audio.duration * audio.time_base) == pytest.approx(1.01, abs=1e-3)


def test_sound_taken_from_a_file_keeps_rate_channels_and_time(tmp_path: Path) -> None:
    source = tmp_path / "stereo.wav"
    left, right = tone(1.0, 44100, 250), tone(1.0, 44100, 400)
    with av.open(str(source), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=44100, layout="stereo")
        samples = (np.stack([left, right], axis=1) * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path = write(tmp_path / "a.mp4", smooth_frames(25, 32, 32), audio_from=source)
    with av.open(str(path)) as container:
        audio = container.streams.audio[0]
        assert (audio.rate, audio.channels) == (44100, 2)
        decoded = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    for heard, wanted in zip(decoded, (left, right)):
        assert np.sqrt(np.mean((heard[2000:40000] - wanted[2000:40000]) ** 2)) < 0.02


def test_an_odd_sample_rate_is_resampled_to_one_that_aac_has(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", smooth_frames(25, 32, 32), audio=(tone(1.0, 10000), 10000))
    back = load_audio(path, 10000)
    assert np.corrcoef(back[1000:9000], tone(1.0, 10000)[1000:9000])[0, 1] > 0.99


def write_and_raise(path: Path, error: type[BaseException]) -> None:
    with VideoWriter(path, 32, 32, 25, audio=(tone(1.0), 16000)) as writer:
        for frame in smooth_frames(40, 32, 32):  # more than the encoder holds back
            writer.write(frame)
        assert len(list(path.parent.glob(".*.mp4.*.part"))) == 1
        assert not path.exists() or path.read_bytes() == b"old"
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        write_and_raise(tmp_path / "a.mp4", error)
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_and_raise(path, RuntimeError)
    assert path.read_bytes() == b"old"
    assert probe_video(write(path, smooth_frames(2, 32, 32))).num_frames == 2


def test_no_frame_is_one_clear_line_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no frame to write"), VideoWriter(tmp_path / "a.mp4", 32, 32, 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_bad_targets_and_sounds_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"folder .*nowhere' does not exist"):
        VideoWriter(tmp_path / "nowhere" / "a.mp4", 32, 32, 25)
    with pytest.raises(UserError, match=r"cannot write '\.xyz' files"):
        VideoWriter(tmp_path / "a.xyz", 32, 32, 25)
    silent = write(tmp_path / "silent.mp4", smooth_frames(2, 32, 32))
    with pytest.raises(UserError, match=r"silent\.mp4': no audio stream"):
        VideoWriter(tmp_path / "a.mp4", 32, 32, 25, audio_from=silent)


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"must be \(32, 32, 3\)"),
        VideoWriter(tmp_path / "a.mp4", 32, 32, 25) as writer,
    ):
        writer.write(np.zeros((32, 34, 3), np.uint8))


def test_clip_bytes_have_a_short_gop_and_do_not_change() -> None:
    frames = smooth_frames(20, 64, 64)
    data = encode_clip(frames, gop=8)
    assert data == encode_clip(frames, gop=8)
    reader = ClipReader(data, backend="pyav")
    assert len(reader) == 20
    with av.open(io.BytesIO(data)) as container:
        keys = [index for index, packet in enumerate(container.demux(video=0)) if packet.size and packet.is_keyframe]
    assert keys == [0, 8, 16]


def test_a_clip_without_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        encode_clip([])
