"""Sounds that lie apart are found by the names of their videos."""

from pathlib import Path

import pytest

from data_prep.sounds import find_sounds
from data_prep.sources import find_sources, with_sounds
from latentsync.errors import UserError


def folder(at: Path, *names: str) -> Path:
    for name in names:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).touch()
    return at


def test_sounds_are_named_without_suffix_and_hidden_ones_do_not_count(tmp_path: Path) -> None:
    at = folder(tmp_path, "a/one.MP3", "a/one.wav", "two.flac", ".x/three.wav", ".four.wav", "five.txt", "six.m4a")
    found = {name: [path.name for path in paths] for name, paths in find_sounds(at).items()}
    assert found == {"a/one": ["one.wav", "one.MP3"], "two": ["two.flac"], "six": ["six.m4a"]}


def test_a_sound_beside_its_video_is_known_and_a_folder_of_sounds_goes_by_name(tmp_path: Path) -> None:
    videos = folder(tmp_path / "videos", "a/caf\u00e9.mp4", "b/two.mkv", "three.mov", "b/two.wav")
    sounds = folder(tmp_path / "sounds", "a/cafe\u0301.wav", "three.m4a", "four.mp3")
    beside, alone = with_sounds(find_sources(videos), videos, None)
    assert {source.name: source.beside for source in beside if source.beside} == {"b/two.mkv": videos / "b/two.wav"}
    assert all(source.sound is None for source in beside)
    assert alone == {}
    paired, alone = with_sounds(find_sources(videos), videos, sounds)
    assert [source.sound and source.sound.name for source in paired] == ["cafe\u0301.wav", None, "three.m4a"]
    assert alone == {"videos": ["b/two.mkv"], "sounds": ["four"]}


def test_a_changed_sound_is_another_source(tmp_path: Path) -> None:
    videos = folder(tmp_path, "one.mp4", "one.wav")
    before = with_sounds(find_sources(videos), videos, None)[0][0].fingerprint()
    (videos / "one.wav").write_bytes(b"more")
    assert with_sounds(find_sources(videos), videos, None)[0][0].fingerprint() != before


def test_folders_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    videos = folder(tmp_path / "videos", "one.mp4")
    for at, said in (
        (tmp_path / "nowhere", "no such folder"),
        (folder(tmp_path / "texts", "one.txt"), "holds no sound"),
        (folder(tmp_path / "others", "two.wav"), r"no name in common \('two', 'one.mp4', …\)"),
        (folder(tmp_path / "twice", "one.wav", "one.mp3"), "have one name"),
    ):
        with pytest.raises(UserError, match=said):
            with_sounds(find_sources(videos), videos, at)
