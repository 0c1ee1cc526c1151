"""The model's clock against the output's, and windows that are always full."""

import pytest

from latentsync.inference.windows import frames_of_audio, model_frame, model_frames_before, pad_to


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
