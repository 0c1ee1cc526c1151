"""Other looks of clips: what changes, what stays, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from tiny_clips import FRAMES, tiny_clip

from data_prep.augment import Look, augment
from latentsync.data.shard_writer import ShardWriter
from latentsync.data.shards import ShardSet
from latentsync.errors import UserError
from latentsync.media.clip_reader import ClipReader

PLAIN = {"mirror": False, "gains": (1.0, 1.0, 1.0), "gamma": 1.0, "saturation": 1.0, "scale": (1, 1), "shift": (0, 0)}


def frames() -> np.ndarray:
    """Two frames of colours that differ left and right."""
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, :16] = (200, 100, 50)
    picture[:, 16:] = (20, 40, 60)
    return np.stack([picture, picture // 2])


def test_the_plain_look_changes_nothing() -> None:
    assert np.array_equal(Look(**PLAIN).apply(frames()), frames())


def test_a_mirror_swaps_left_and_right() -> None:
    assert np.array_equal(Look(**{**PLAIN, "mirror": True}).apply(frames()), frames()[:, :, ::-1])


def test_gains_multiply_and_no_saturation_is_grey() -> None:
    brighter = Look(**{**PLAIN, "gains": (0.5, 1.0, 2.0)}).apply(frames())
    assert np.abs(brighter[0, 0, 0].astype(int) - (100, 100, 100)).max() <= 1
    grey = Look(**{**PLAIN, "saturation": 0.0}).apply(frames())
    assert np.ptp(grey, axis=-1).max() == 0


def test_a_wider_look_moves_what_is_right_of_the_centre_to_the_right() -> None:
    ramp = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, None, :, None] * 4, (1, 32, 32, 3))
    wider = Look(**{**PLAIN, "scale": (1.25, 1.0)}).apply(ramp)
    assert abs(int(wider[0, 16, 26, 0]) - 4 * (16 + 10 / 1.25)) <= 2
    assert abs(int(wider[0, 16, 6, 0]) - 4 * (16 - 10 / 1.25)) <= 2


def test_copies_keep_sound_and_time_and_differ_in_look(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "in") as writer:
        writer.write(tiny_clip("one"))
    assert augment(str(tmp_path / "in"), tmp_path / "out", copies=2, seed=4) == {"written": 2}
    original, looks = tiny_clip("one"), ShardSet(str(tmp_path / "out"))
    samples = [looks.read(index) for index in range(len(looks))]
    assert [sample.key for sample in samples] == ["one-look0", "one-look1"]
    assert all(sample.audio == original.audio for sample in samples)
    videos = [ClipReader(sample.video).read(list(range(FRAMES))) for sample in samples]
    assert not np.array_equal(*videos)
    brightness = [video.mean((1, 2, 3)) for video in videos]  # the frames show their numbers by growing brighter
    assert all((np.diff(levels) > 0).all() for levels in brightness)


def test_equal_seeds_give_equal_copies_and_a_full_folder_is_gone_on_with(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "in") as writer:
        writer.write(tiny_clip("one"))
    for folder in ("a", "b"):
        augment(str(tmp_path / "in"), tmp_path / folder, seed=1)
    assert ShardSet(str(tmp_path / "a")).read(0).video == ShardSet(str(tmp_path / "b")).read(0).video
    assert augment(str(tmp_path / "in"), tmp_path / "a", seed=1, resume=True) == {"written": 0}


def test_no_copies_and_a_negative_strength_are_refused(tmp_path: Path) -> None:
    for options in ({"copies": 0}, {"strength": -1.0}):
        with pytest.raises(UserError, match="give at least 1 copy"):
            augment(str(tmp_path), tmp_path / "out", **options)
