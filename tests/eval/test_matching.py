"""Which reference a video belongs to, and whether the sound says that it is one."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from eval.matching import LIKE, NothingPaired, clip_mark, match, sound_likeness
from latentsync.errors import UserError
from latentsync.synthetic.clip import draw_clip


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def test_names_that_look_alike_are_a_pair_however_their_accents_are_encoded(tmp_path: Path) -> None:
    composed, taken_apart = (unicodedata.normalize(form, "sub/Zoé.mp4") for form in ("NFC", "NFD"))
    assert composed != taken_apart
    tasks, truths, unmatched = match(touch(tmp_path / "a", taken_apart, "x.mp4"), touch(tmp_path / "b", composed))
    assert [task.name for task in tasks] == [task.name for task in truths] == ["sub/Zo\u00e9"]
    assert tasks[0].video.exists()
    assert unmatched == {"videos": ["x"]}


def test_nothing_in_common_is_said_with_an_example_of_each_side(tmp_path: Path) -> None:
    with pytest.raises(NothingPaired, match=r"no name in common \('x', 'y', …\)"):
        match(touch(tmp_path / "a", "x.mp4"), touch(tmp_path / "b", "y.mp4"))


def test_two_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have one name"):
        match(touch(tmp_path / "a", "x.mp4", "x.mkv"), touch(tmp_path / "b", "x.mp4"))


def test_clips_of_one_name_differ_by_their_sound_or_their_file(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.mp4", "b/x.mp4")
    assert clip_mark(None) == ""
    assert clip_mark(tmp_path / "a/x.mp4") != clip_mark(tmp_path / "b/x.mp4")
    for side in "ab":
        (tmp_path / side / "x.wav").write_bytes(b"the same")
    assert clip_mark(tmp_path / "a/x.mp4") == clip_mark(tmp_path / "b/x.mp4")


def test_a_sound_is_like_itself_changed_by_an_encoder_and_unlike_others() -> None:
    wave, other = (draw_clip(person, 3.0, 64, 1).wave for person in (100_001, 100_002))
    noise = np.random.default_rng(0).normal(0, 0.1 * wave.std(), len(wave))
    late = np.concatenate([np.zeros(1600, np.float32), wave])
    for same in (wave, -0.3 * wave, wave + noise, late, wave[: len(wave) // 2], np.convolve(wave, np.ones(4) / 4)):
        assert sound_likeness(same, wave) > 0.9 > LIKE
    assert sound_likeness(wave, other) < LIKE
    assert sound_likeness(np.concatenate([np.zeros(16000, np.float32), wave]), wave) < LIKE, "late by a second"
    silence = np.zeros(16000, np.float32)
    assert sound_likeness(silence, silence) == 1
    assert sound_likeness(silence, wave) == 0
    assert sound_likeness(np.zeros(0), wave) == 0
