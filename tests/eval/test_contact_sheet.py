"""Claims about contact sheets."""

import numpy as np
import pytest

from eval.contact_sheet import contact_sheet, evaluation_rows
from latentsync.errors import UserError


def video(count: int, height: int = 30, width: int = 40) -> list[np.ndarray]:
    return [np.full((height, width, 3), 10 * index, np.uint8) for index in range(count)]


def test_rows_show_even_times_of_each_video():
    sheet = contact_sheet({"one": video(8), "two": video(8, 60, 40)}, columns=4, width=20)
    assert sheet.shape == (18 + 15 + 18 + 30, 80, 3)
    first, second = sheet[18:33], sheet[51:81]
    for row in (first, second):
        assert [int(row[5, 10 + 20 * column, 0]) for column in range(4)] == [10, 30, 50, 70]


def test_a_column_shows_one_moment_when_videos_differ_in_length():
    sheet = contact_sheet({"long": video(20), "short": video(4)}, columns=4, width=20)
    np.testing.assert_array_equal(sheet[18:33], sheet[51:66])


def test_a_sheet_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs rows"):
        contact_sheet({})


def test_a_folder_without_an_evaluation_is_refused(tmp_path):
    with pytest.raises(UserError, match="no cross/seed_"):
        evaluation_rows(tmp_path, 2)
