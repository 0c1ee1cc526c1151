"""Sound in: any container, mono, at the rate asked for, in time with the pictures."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.errors import UserError
from latentsync.media import VideoWriter, decode_audio, encode_wav, load_audio


def tone(seconds: float, rate: int = 16000, hertz: float = 300) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_sound(path: Path, channels: np.ndarray, rate: int, codec: str) -> Path:
    """channels: (C, N) float; C is 1 or 2."""
    layout = "mono" if len(channels) == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        wanted = stream.codec_context.format.name
        resampler = av.AudioResampler(format=wanted, layout=layout, rate=rate, frame_size=1024)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels, np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def best_match(heard: np.ndarray, wanted: np.ndarray, reach: int = 1500) -> tuple[float, int]:
    """The highest correlation with the middle of `wanted`, and the shift in samples where it is."""
    probe = wanted[4000:10000]
    scores = {
        shift: float(np.corrcoef(heard[4000 + shift : 10000 + shift], probe)[0, 1]) for shift in range(-reach, reach, 1)
    }
    best = max(scores, key=scores.__getitem__)
    return scores[best], best


@pytest.mark.parametrize(
    ("suffix", "codec", "rate"),
    [("wav", "pcm_s16le", 16000), ("flac", "flac", 44100), ("mp3", "libmp3lame", 44100), ("m4a", "aac", 48000),
     ("aac", "aac", 16000), ("ogg", "libopus", 48000)],
)  # fmt: skip
def test_each_kind_of_file_gives_16_khz_mono(tmp_path: Path, suffix: str, codec: str, rate: int) -> None:
    chirp = (0.4 * np.sin(2 * np.pi * (200 * (t := np.arange(rate) / rate) + 150 * t**2))).astype(np.float32)
    heard = load_audio(write_sound(tmp_path / f"a.{suffix}", np.stack([chirp, chirp]), rate, codec))
    wanted = (0.4 * np.sin(2 * np.pi * (200 * (t := np.arange(16000) / 16000) + 150 * t**2))).astype(np.float32)
    assert heard.dtype == np.float32
    assert heard.ndim == 1
    assert len(heard) == pytest.approx(16000, abs=1600)  # frames of lossy codecs stick out at the ends
    score, shift = best_match(heard, wanted, 1100)
    assert score > 0.98
    assert abs(shift) <= (8 if suffix != "aac" else 1100)  # a bare .aac stream does not say how long its lead-in is


def test_stereo_is_the_mean_of_its_channels(tmp_path: Path) -> None:
    left, right = tone(1, hertz=250), tone(1, hertz=400)
    heard = load_audio(write_sound(tmp_path / "a.wav", np.stack([left, right]), 16000, "pcm_s16le"))
    assert np.abs(heard - (left + right) / 2).max() < 1e-3


def test_sound_of_a_video_is_aligned_to_its_first_picture(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    wave = tone(1.0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width = video.height = 32
        sound = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for index in range(30):
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        part = av.AudioFrame.from_ndarray((wave * 32767).astype(np.int16)[None], format="s16", layout="mono")
        part.sample_rate, part.pts, part.time_base = 16000, 3200, Fraction(1, 16000)  # 0.2 s late
        container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    heard = load_audio(path)
    assert np.abs(heard[:3150]).max() < 1e-3
    assert np.abs(heard[3200 : 3200 + 15900] - wave[:15900]).max() < 1e-3


def test_wav_bytes_come_back_to_the_last_of_16_bits() -> None:
    wave = tone(0.5, 22050)
    back, rate = decode_audio(encode_wav(wave, 22050))
    assert rate == 22050
    assert back.shape == wave.shape
    assert np.abs(back - wave).max() <= 0.5 / 32768 + 1e-7


def test_full_scale_is_clipped_not_wrapped() -> None:
    back, _ = decode_audio(encode_wav(np.array([1.5, -1.5, 1.0, -1.0] * 100, np.float32), 16000))
    assert back.max() > 0.99
    assert back.min() == -1
    assert (np.sign(back[:4]) == [1, -1, 1, -1]).all()


def test_real_clips_have_the_sound_they_should(shared: Path) -> None:
    clips = shared / "assets" / "clips"
    assert len(load_audio(clips / "brbk7n.mpg")) == pytest.approx(3 * 16000, abs=1600)
    assert len(load_audio(clips / "demo1_audio.wav")) == pytest.approx(307278 / 2, abs=100)


def test_bad_sound_is_one_clear_line(tmp_path: Path) -> None:
    silent = tmp_path / "silent.mp4"
    with VideoWriter(silent, 32, 32, 25) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    (tmp_path / "short.wav").write_bytes(encode_wav(tone(0.1), 16000))
    (tmp_path / "nothing.wav").write_bytes(encode_wav(np.zeros(0, np.float32), 16000))
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("hello " * 50)
    for name, words in {
        "silent.mp4": "no audio stream; pass audio=FILE with sound",
        "short.wav": r"0\.10 s of sound is too short; give at least 0\.2 s",
        "nothing.wav": "too short",
        "empty.wav": "the file is empty",
        "text.wav": "not a media file",
        "absent.wav": "no such file",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            load_audio(tmp_path / name)
        assert f"{name}'" in str(caught.value)
    with pytest.raises(UserError, match="not a media file"):
        decode_audio(b"hello " * 50)
