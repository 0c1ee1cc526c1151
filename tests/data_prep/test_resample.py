"""Resampling: the sound is the loader's, and what is measured of the rate is the source's."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clicking import Making, click_times, clicks, flashes, write_clicking

from data_prep.candidate import FaceFrame, FaceLook, Rejected
from data_prep.resample import SourceSound, measure_resampling
from latentsync.face import Face
from latentsync.media import VideoWriter, load_audio, read_frames_at

RATES = [Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(50), Fraction(60), Fraction(15)]


def write(path: Path, fps: Fraction, seconds: float = 1.0, rate: int = 44100) -> Path:
    count = round(seconds * fps)
    wave = np.sin(np.arange(round(seconds * rate)) * 0.05).astype(np.float32) * 0.5
    with VideoWriter(path, 48, 32, fps, crf=4, audio=(wave, rate)) as writer:
        for index in range(count):
            writer.write(np.full((32, 48, 3), 20 + index * 200 // count, np.uint8))
    return path


@pytest.mark.parametrize("fps", RATES, ids=str)
def test_measured_rate_and_repeats_are_the_sources(tmp_path: Path, fps: Fraction) -> None:
    look = FaceLook((48, 32), None, (0, 0, 0), None)
    face = Face(np.zeros((3, 2)), (0, 0, 1, 1))
    frames = [
        FaceFrame(frame.index, frame.number, frame.time, face, True, look, frame.image, 1, 0)
        for frame in read_frames_at(write(tmp_path / "a.mp4", fps, seconds=2.0))
    ]
    row = measure_resampling(frames)
    assert row["resample_fps"] == pytest.approx(float(fps), rel=1e-3)
    assert row["resample_repeated"] == pytest.approx(max(0, 1 - float(fps) / 25), abs=0.03)
    assert row["resample_irregularity"] < 0.05


def test_sound_is_that_of_the_loader_and_does_not_lie_in_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", Fraction(25), rate=48000)
    sound = SourceSound(path, tmp_path / "sound.raw", lambda share: None)
    expected = load_audio(path)
    heard = sound.between(0, len(expected) // 640)
    assert np.abs(heard - expected[: len(heard)]).max() < 1e-4
    assert isinstance(sound._samples, np.memmap)


def test_sound_with_gaps_is_prepared_at_its_stamps_after_the_first_picture(tmp_path: Path) -> None:
    path = write_clicking(tmp_path / "a.mkv", Making(lost=((0.55, 1.0),), pictures_late=0.2))
    sound = SourceSound(path, tmp_path / "sound.raw", lambda share: None)
    heard = clicks(sound.between(0, sound.num_frames), 16000)
    assert heard == pytest.approx([time - 0.2 for time in click_times()], abs=5e-3)
    shown = flashes((frame.image, frame.index / 25) for frame in read_frames_at(path))
    assert shown == pytest.approx(heard, abs=0.045)


def test_the_track_that_is_asked_for_is_prepared(tmp_path: Path) -> None:
    path = write_clicking(tmp_path / "a.mkv")
    assert SourceSound(path, tmp_path / "sound.raw", lambda share: None, 0).num_frames > 50
    with pytest.raises(Rejected, match="sound cannot be decoded") as reason:
        SourceSound(path, tmp_path / "sound.raw", lambda share: None, 1)
    assert "audio_track=1: no such track" in str(reason.value.detail)


def test_sound_that_cannot_be_decoded_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(Rejected, match="sound cannot be decoded"):
        SourceSound(tmp_path / "a.wav", tmp_path / "sound.raw", lambda share: None)
