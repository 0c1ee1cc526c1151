"""Stored sound is the source's own packets where the container takes them, in time with the pictures."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from latentsync.media import VideoWriter, load_audio

SECONDS = 1.5


def chirp(rate: int) -> np.ndarray:
    t = np.arange(round(SECONDS * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 * t + 150 * t**2))).astype(np.float32)


def write_sound(path: Path, codec: str, rate: int, picture_start: float | None = None) -> Path:
    """A file with sound alone, or with pictures that begin `picture_start` seconds after the sound."""
    with av.open(str(path), "w") as container:
        if picture_start is not None:
            video = container.add_stream("libx264", rate=25)
            video.width = video.height = 32
        stream = container.add_stream(codec, rate=rate, layout="mono")
        if picture_start is not None:
            for number in range(10):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                frame.pts, frame.time_base = number + round(picture_start * 25), Fraction(1, 25)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        resampler = av.AudioResampler(stream.codec_context.format.name, "mono", rate, frame_size=1024)
        sound = av.AudioFrame.from_ndarray(chirp(rate)[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = rate, 0, Fraction(1, rate)
        for part in [*resampler.resample(sound), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def write_video(path: Path, sound: Path) -> Path:
    with VideoWriter(path, 32, 32, 25, audio_from=sound, audio_seconds=SECONDS) as writer:
        for level in range(round(SECONDS * 25)):
            writer.write(np.full((32, 32, 3), level, np.uint8))
    return path


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def stored(path: Path) -> tuple[str, int]:
    with av.open(str(path)) as container:
        context = container.streams.audio[0].codec_context
        return context.name.removesuffix("float"), context.rate


@pytest.mark.parametrize(
    ("sound", "codec", "rate", "video"),
    [
        ("a.m4a", "aac", 44100, "v.mp4"), ("a.mp3", "libmp3lame", 44100, "v.mp4"), ("a.flac", "flac", 48000, "v.mp4"),
        ("a.ogg", "libopus", 48000, "v.mp4"), ("a.mkv", "aac", 22050, "v.mov"), ("a.wav", "pcm_s16le", 96000, "v.mov"),
        ("a.wav", "pcm_s16le", 8000, "v.mkv"), ("a.ogg", "libopus", 48000, "v.mkv"),
        ("a.mp3", "libmp3lame", 44100, "v.mkv"),
        ("a.aac", "aac", 16000, "v.mkv"),
    ],
)  # fmt: skip
def test_packets_are_stored_untouched_and_sound_at_their_time(
    tmp_path: Path, sound: str, codec: str, rate: int, video: str
) -> None:
    source = write_sound(tmp_path / sound, codec, rate)
    written = write_video(tmp_path / video, source)
    ours, theirs = packets(written), packets(source)
    if codec == "pcm_s16le":  # raw samples may be cut into other packets
        assert b"".join(ours) == b"".join(theirs)
    elif sound != "a.aac":  # whose packets carry a header each
        assert ours == theirs
    heard, wanted = load_audio(written), load_audio(source)
    both = min(len(heard), len(wanted), 20000)
    shifts = range(-60, 61)
    best = max(shifts, key=lambda s: float(np.dot(heard[3000 + s : both - 3000 + s], wanted[3000 : both - 3000])))
    assert abs(best) <= 32  # 2 ms


@pytest.mark.parametrize(("sound", "codec", "rate"), [("a.wav", "pcm_s16le", 44100), ("a.mkv", "mp2", 48000)])
def test_what_mp4_cannot_hold_becomes_aac_at_its_own_rate(tmp_path: Path, sound: str, codec: str, rate: int) -> None:
    written = write_video(tmp_path / "v.mp4", write_sound(tmp_path / sound, codec, rate))
    assert stored(written) == ("aac", rate)


def test_sound_that_begins_before_its_pictures_keeps_its_place(tmp_path: Path) -> None:
    source = write_sound(tmp_path / "a.mkv", "aac", 48000, picture_start=0.4)
    written = write_video(tmp_path / "v.mp4", source)
    heard, wanted = load_audio(written), load_audio(source)
    assert len(wanted) == pytest.approx((SECONDS - 0.4) * 16000, abs=1100)
    both = min(len(heard), len(wanted))
    shifts = range(-700, 701)
    best = max(shifts, key=lambda s: float(np.dot(heard[3000 + s : both - 3000 + s], wanted[3000 : both - 3000])))
    assert abs(best) <= 32
