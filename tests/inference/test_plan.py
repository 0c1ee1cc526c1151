"""The model's clock against the output's, and the order in which a short video is played."""

from itertools import pairwise

import pytest

from latentsync.inference.plan import frames_of_audio, model_frame, model_frames_before, pad_to, ping_pong_index


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


def test_at_25_frames_a_second_both_clocks_are_one() -> None:
    for number in range(90_000):  # an hour
        assert model_frame(number / 25) == number
        assert model_frames_before(number / 25) == number


@pytest.mark.parametrize("fps", [1, 12.5, 24, 29.97, 30, 50, 60, 240])
def test_a_frame_takes_the_mouth_nearest_in_time_and_the_model_the_newest_picture(fps: float) -> None:
    times = [number / fps for number in range(round(40 * fps))]
    for number, time in enumerate(times[:-1]):
        assert abs(model_frame(time) / 25 - time) <= 0.02 + 1e-9
        shown = range(model_frames_before(time), model_frames_before(times[number + 1]))
        assert all(time - 0.002 <= k / 25 < times[number + 1] for k in shown)
