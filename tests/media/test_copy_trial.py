"""What a container takes is tried: copied where it comes out as it went in, else encoded, and the reason is told."""

import logging
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clicking import Making, click_times, clicks, stored, write_channels, write_clicking

from latentsync.errors import UserError
from latentsync.media import VideoWriter, load_audio
from latentsync.media.copy_trial import why_not_copied


def write_sound(path: Path, codec: str, rate: int = 48000) -> Path:
    """A second and a half of clicks in a file of sound alone."""
    with av.open(str(path), "w") as target:
        stream = target.add_stream(codec, rate=rate, layout="mono")
        samples = np.zeros((1, 72000), np.float32)
        samples[0, 19200:19248] = samples[0, 57600:57648] = 0.6
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
        frame.sample_rate, frame.pts = rate, 0
        target.mux([*stream.encode(frame), *stream.encode(None)])
    return path


def write_opus_caf(path: Path, ogg: Path) -> Path:
    """The packets of an Ogg file in Apple's Core Audio Format, which holds no Opus header."""
    with av.open(str(ogg)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size]

    def number(size: int) -> bytes:
        return bytes([0x80 | size >> 7, size & 0x7F]) if size > 0x7F else bytes([size])

    table = struct.pack(">qqii", len(packets), 960 * len(packets), 0, 0) + b"".join(map(number, map(len, packets)))
    chunks = [
        (b"desc", struct.pack(">d4sIIIII", 48000, b"opus", 0, 0, 960, 1, 0)),
        (b"pakt", table),
        (b"data", struct.pack(">I", 0) + b"".join(packets)),
    ]
    body = b"".join(name + struct.pack(">q", len(data)) + data for name, data in chunks)
    path.write_bytes(b"caff\0\1\0\0" + body)
    return path


def write_video(path: Path, sound: Path, seconds: float = 1.5) -> Path:
    with VideoWriter(path, 32, 32, 25, audio_from=sound, audio_seconds=seconds) as writer:
        for level in range(round(seconds * 25)):
            writer.write(np.full((32, 32, 3), level, np.uint8))
    return path


def written(path: Path) -> tuple[str, str]:
    """(codec, layout) of its sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return stream.codec_context.name, stream.layout.name


def test_opus_in_caf_becomes_aac_where_mp4_refuses_it(tmp_path: Path) -> None:
    source = write_opus_caf(tmp_path / "o.caf", write_sound(tmp_path / "o.ogg", "libopus"))
    assert "mp4 does not take it" in (why_not_copied(source, "mp4") or "")
    path = write_video(tmp_path / "v.mp4", source)
    assert written(path)[0] == "aac"
    wave, rate, _ = stored(path)
    assert clicks(wave, rate) == pytest.approx(clicks(load_audio(source), 16000), abs=5e-3)


@pytest.mark.parametrize(
    ("name", "codec", "container", "copied"),
    [
        ("a.m4a", "aac", "mp4", True), ("a.ogg", "libopus", "mp4", True), ("a.ogg", "libopus", "matroska", True),
        ("a.mp3", "libmp3lame", "mov", True), ("a.flac", "flac", "mp4", True), ("a.wav", "pcm_s16le", "mp4", False),
        ("a.mkv", "mp2", "mp4", False),
    ],
)  # fmt: skip
def test_what_comes_out_as_it_went_in_is_copied(
    tmp_path: Path, name: str, codec: str, container: str, copied: bool
) -> None:
    why = why_not_copied(write_sound(tmp_path / name, codec), container)
    assert (why is None) == copied, why


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_sound_with_gaps_is_stored_with_silence_in_them(tmp_path: Path, suffix: str) -> None:
    source = write_clicking(tmp_path / "a.mkv", Making(lost=((0.55, 1.0),)))
    assert "gaps" in (why_not_copied(source, "mp4") or "")
    path = write_video(tmp_path / f"v.{suffix}", source, 2.4)
    with av.open(str(path)) as container:  # closed up, as players without an eye for stamps play it
        parts = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    assert clicks(np.concatenate(parts), rate) == pytest.approx(click_times(), abs=0.03)
    wave, rate, _ = stored(path)
    assert clicks(wave, rate) == pytest.approx(click_times(), abs=5e-3)


@pytest.mark.parametrize(
    ("count", "mask", "layout"),
    [
        (3, 0x7, "3.0"), (4, 0x33, "quad"), (4, 0x107, "4.0"), (4, None, "4.0"), (5, 0x37, "5.0"), (6, 0x60F, "5.1"),
        (6, 0x3F, "5.1"), (8, 0x63F, "7.1"), (8, None, "7.1"),
    ],
)  # fmt: skip
def test_channels_are_kept_each_in_its_place(
    tmp_path: Path, count: int, mask: int | None, layout: str, caplog: pytest.LogCaptureFixture
) -> None:
    tones = write_channels(tmp_path / "a.wav", count, mask)
    path = write_video(tmp_path / "v.mp4", tmp_path / "a.wav", 1.0)
    assert written(path) == ("aac", layout)
    packed = av.AudioResampler("s32", layout, 8000)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in packed.resample(frame)]
    samples = np.concatenate([frame.to_ndarray().reshape(-1, count) for frame in frames])[1000:7000]
    found = np.argmax(np.abs(np.fft.rfft(samples, axis=0)), axis=0) * 8000 / 6000
    low = 3 if layout in ("5.1", "7.1") else None  # AAC keeps but the lowest tones of the low-frequency channel
    kept = [number for number in range(count) if number != low]
    assert found[kept] == pytest.approx(np.array(tones)[kept], abs=3)
    assert "mixed" not in caplog.text


@pytest.mark.parametrize(("count", "mask"), [(7, 0x70F), (8, 0xFF), (9, None), (12, None), (16, None), (24, None)])
def test_channels_that_aac_cannot_name_are_mixed_down_with_a_line(
    tmp_path: Path, count: int, mask: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    write_channels(tmp_path / "a.wav", count, mask)
    with caplog.at_level(logging.WARNING):
        path = write_video(tmp_path / "v.mp4", tmp_path / "a.wav", 1.0)
    assert written(path) == ("aac", "stereo")
    assert "are mixed down to stereo" in caplog.text
    assert np.abs(load_audio(path)).max() > 0.02


def test_a_refusal_that_is_not_the_disk_s_does_not_ask_for_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = VideoWriter(tmp_path / "v.mp4", 32, 32, 25)

    class Refusing:
        def __init__(self, container: Any) -> None:
            self.close = container.close

        def mux(self, packets: object) -> None:
            raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input")

    def write() -> None:
        with writer:
            monkeypatch.setattr(writer, "_container", Refusing(writer._container))
            writer.write(np.zeros((32, 32, 3), np.uint8))

    with pytest.raises(UserError, match=r"h264 pictures .* \.mp4 file \(Invalid data found") as caught:
        write()
    assert "space" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
