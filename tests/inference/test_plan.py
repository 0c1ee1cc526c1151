"""The window plan: every frame once, in order, whole windows but the last."""

from itertools import pairwise

import pytest

from latentsync.inference.plan import frames_of_audio, pad_to, ping_pong_index, plan_windows


@pytest.mark.parametrize("window", [1, 2, 7, 16])
def test_windows_cover_every_frame_once_and_only_the_last_is_short(window: int) -> None:
    for num_frames in range(70):
        windows = list(plan_windows(num_frames, window))
        covered = [frame for w in windows for frame in range(w.start, w.stop)]
        assert covered == list(range(num_frames))
        assert [w.index for w in windows] == list(range(len(windows)))
        assert all(w.count == window for w in windows[:-1])
        assert all(1 <= w.count <= window for w in windows)


def test_impossible_windows_are_refused() -> None:
    for num_frames, window in [(5, 0), (-1, 4)]:
        with pytest.raises(ValueError):
            list(plan_windows(num_frames, window))


def test_padding_repeats_the_last_item_and_keeps_the_rest() -> None:
    assert pad_to([3, 4], 5) == [3, 4, 4, 4, 4]
    assert pad_to([3, 4], 2) == [3, 4]
    for items in ([], [1, 2, 3]):
        with pytest.raises(ValueError):
            pad_to(items, 2)


def test_frames_of_audio_are_within_half_a_frame_of_its_length() -> None:
    for samples in range(3200, 64000, 777):
        seconds = samples / 16000
        assert abs(frames_of_audio(seconds) / 25 - seconds) <= 0.02 + 1e-9
    assert frames_of_audio(0.001) == 1


def test_ping_pong_turns_at_both_ends_without_a_jump() -> None:
    assert [ping_pong_index(k, 3) for k in range(10)] == [0, 1, 2, 2, 1, 0, 0, 1, 2, 2]
    assert {ping_pong_index(k, 1) for k in range(5)} == {0}
    for length in range(1, 9):
        indices = [ping_pong_index(k, length) for k in range(50)]
        assert all(abs(a - b) <= 1 for a, b in pairwise(indices))
        assert set(indices) == set(range(length))
