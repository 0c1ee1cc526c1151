"""Whoever reads sound hears each moment at its time stamp, after the first picture: in every container, with gaps."""

from pathlib import Path

import av
import numpy as np
import pytest
from clicking import CONTAINERS, FPS, SECONDS, Making, click_times, clicks, flashes, write_channels, write_clicking

from latentsync.errors import UserError
from latentsync.media import PictureReader, load_audio, read_frames
from latentsync.media.audio import survey_sound

RATE = 16000
WHOLE = {
    "whole": Making(),
    "pictures late": Making(pictures_late=0.2),
    "sound late": Making(sound_late=0.3, sound_codec="aac"),
    "beginning lost": Making(lost=((-1, 0.3),)),
    "packets lost": Making(lost=((0.55, 1.0), (1.3, 1.34))),
}


def assert_in_time(path: Path, late: float = 0.0) -> None:
    """Clicks within 5 ms of their times after the first picture, flashes within a frame, nothing lost at the end."""
    wave = load_audio(path)
    assert clicks(wave, RATE) == pytest.approx([time - late for time in click_times()], abs=5e-3)
    assert len(wave) / RATE == pytest.approx(SECONDS - late, abs=0.05)
    seen = flashes((frame.image, frame.time) for frame in read_frames(path))
    assert seen == pytest.approx([time - late for time in click_times()], abs=1 / FPS)
    reader = PictureReader(path)
    again = flashes((picture.rgb, float(picture.pts * picture.look.time_base)) for picture in reader.forwards())
    assert again == pytest.approx(seen, abs=2e-3)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("suffix", CONTAINERS)
def test_sound_is_heard_at_its_stamp_in_every_container(tmp_path: Path, suffix: str, name: str) -> None:
    making = WHOLE[name]
    if suffix == "avi" and name != "whole":
        pytest.skip("AVI stores no stamps: what is not there leaves no gap")
    if suffix == "mov" and name == "packets lost":
        making = Making(lost=making.lost, sound_codec="aac")  # raw samples in QuickTime have no stamps of their own
    if suffix in ("webm", "mpg", "ts", "mkv") and making.sound_codec:
        making = Making(sound_late=making.sound_late)
    path = write_clicking(tmp_path / f"a.{suffix}", making)
    assert_in_time(path, making.pictures_late)
    assert survey_sound(path).seamless == ("packets lost" not in name)


@pytest.mark.parametrize(
    ("name", "making", "late"),
    [
        ("no edit list.mp4", Making(options={"use_editlist": "0"}), 0.0),
        ("fragments.mp4", Making(options={"movflags": "frag_keyframe+empty_moov"}), 0.0),
        ("hidden beginning.mp4", Making(hidden=0.2), 0.2),
        ("hidden beginning.mov", Making(hidden=0.2, sound_codec="aac"), 0.2),
        ("packed.avi", Making(packed=True), 0.0),
        ("without b-frames.avi", Making(b_frames=0), 0.0),
    ],
)
def test_time_begins_with_the_first_picture_that_is_shown(
    tmp_path: Path, name: str, making: Making, late: float
) -> None:
    assert_in_time(write_clicking(tmp_path / name, making), late)


def test_pictures_of_an_avi_come_one_after_the_other_both_ways(tmp_path: Path) -> None:
    reader = PictureReader(write_clicking(tmp_path / "packed.avi", Making(packed=True)))
    stamps = [picture.pts for picture in reader.forwards()]
    assert stamps == list(range(round(SECONDS * FPS)))
    assert [picture.pts for picture in reader.backwards(10**6)] == stamps[::-1]


def test_a_gap_is_silence(tmp_path: Path) -> None:
    heard = load_audio(write_clicking(tmp_path / "a.mkv", Making(lost=((0.55, 1.0),), sound_codec="pcm_s16le")))
    inside, outside = heard[round(0.6 * RATE) : round(0.95 * RATE)], heard[round(0.45 * RATE) : round(0.5 * RATE)]
    assert np.abs(inside).max() == 0
    assert np.abs(outside).max() > 5e-3  # the hum


def test_one_wrong_stamp_moves_nothing_and_jitter_leaves_no_seam(tmp_path: Path) -> None:
    for name, stamps in {
        "stray": lambda number: 0.015 if number == 30 else 0.0,
        "jitter": lambda number: 0.004 * (-1) ** number,
    }.items():
        path = write_clicking(tmp_path / f"{name}.mkv", Making(stamps=stamps))
        assert clicks(load_audio(path), RATE) == pytest.approx(click_times(), abs=6e-3)
        assert survey_sound(path).seamless, name


def test_what_overlaps_is_trimmed(tmp_path: Path) -> None:
    # From 0.7 s on everything is stamped 0.1 s early: the sound before it wins, then stamps are followed.
    making = Making(stamps=lambda number: -0.1 if number >= 35 else 0.0, sound_codec="libopus")
    heard = load_audio(write_clicking(tmp_path / "a.mkv", making))
    first, *rest = click_times()
    assert clicks(heard, RATE) == pytest.approx([first, *(time - 0.1 for time in rest)], abs=5e-3)
    assert len(heard) / RATE == pytest.approx(SECONDS - 0.1, abs=0.05)


def test_a_clock_that_starts_anew_loses_no_sound(tmp_path: Path) -> None:
    path = write_clicking(tmp_path / "a.ts")
    (tmp_path / "twice.ts").write_bytes(path.read_bytes() * 2)
    heard = clicks(load_audio(tmp_path / "twice.ts"), RATE)
    assert len(heard) == 2 * len(click_times())
    assert np.diff(heard[3:]) == pytest.approx(np.diff(click_times()), abs=5e-3)


def test_sound_alone_keeps_its_lost_beginning_where_the_container_has_a_zero_of_its_own(tmp_path: Path) -> None:
    for suffix, container, begins in (("m4a", "mp4", 0.4), ("mka", "matroska", 0.4), ("ts", "mpegts", 0.1)):
        path = tmp_path / f"a.{suffix}"
        with av.open(str(path), "w", format=container) as target:
            stream = target.add_stream("aac", rate=48000, layout="mono")
            samples = np.zeros((1, 48000), np.float32)
            samples[0, 19200:19248] = 0.6
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate, frame.pts = 48000, 0
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                if packet.pts * packet.time_base >= 0.3:
                    target.mux(packet)
        (heard,) = clicks(load_audio(path), RATE)
        assert heard == pytest.approx(begins, abs=0.025), suffix


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 24, 64])
def test_no_number_of_channels_is_too_many(tmp_path: Path, count: int) -> None:
    write_channels(tmp_path / "a.wav", count, None)
    heard = load_audio(tmp_path / "a.wav")
    assert len(heard) == RATE
    assert 0.02 < np.abs(heard).max() < 0.35, "their mean, or nearly"


@pytest.mark.parametrize("mask", [0x33, 0x107, 0x37, 0x3F, 0x60F, 0x70F, 0x63F, 0xFF])
def test_speakers_by_name_are_heard(tmp_path: Path, mask: int) -> None:
    write_channels(tmp_path / "a.wav", mask.bit_count(), mask)
    assert np.abs(load_audio(tmp_path / "a.wav")).max() > 0.02


def test_sound_that_changes_its_kind_half_way_is_heard_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    parts = []
    for number, (rate, layout) in enumerate([(48000, "mono"), (44100, "stereo")]):
        part = tmp_path / f"{number}.ts"
        with av.open(str(part), "w") as target:
            stream = target.add_stream("mp2", rate=rate, layout=layout)
            samples = np.full((stream.codec_context.channels, rate), 0.0, np.int16)
            samples[:, rate // 2 : rate // 2 + 60] = 20000
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), "s16", layout)
            frame.sample_rate, frame.pts = rate, 0
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                target.mux(packet)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    assert len(clicks(load_audio(path), RATE)) == 2


def test_a_broken_packet_leaves_its_time_to_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.ac3"
    with av.open(str(path), "w") as target:
        stream = target.add_stream("ac3", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 48000), np.float32), "fltp", "stereo")
        frame.sample_rate, frame.pts = 48000, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            target.mux(packet)
    whole = len(load_audio(path))
    data = bytearray(path.read_bytes())
    size = len(data) // 32
    data[4 * size + 8 : 5 * size - 8] = b"\xff" * (size - 16)
    path.write_bytes(bytes(data))
    assert len(load_audio(path)) == pytest.approx(whole, abs=1600)


def test_noise_is_no_sound(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(UserError, match=r"audio '.*a\.mp3'"):
        load_audio(tmp_path / "a.mp3")
