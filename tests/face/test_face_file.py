"""Landmarks from files, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from latentsync.errors import UserError
from latentsync.face.face_file import FacesFromFile, open_face_finder

POINTS = np.array([[40.0, 40.0], [80.0, 40.0], [60.0, 60.0]])
IMAGE = np.zeros((120, 120, 3), np.uint8)


@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: {"landmarks3": p}, lambda p: {"truth": {"landmarks3": p}}])
def test_landmarks_are_read_from_truth_files(tmp_path: Path, wrap) -> None:
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(wrap([POINTS.tolist(), None])))
    finder = open_face_finder(path)
    np.testing.assert_array_equal(finder.find(IMAGE, 0.0)[0].landmarks3, POINTS)
    assert finder.find(IMAGE, 0.04) == []
    with pytest.raises(UserError, match="holds 2 frames"):
        finder.find(IMAGE, 0.08)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("{}", "no list 'landmarks3'"),
        ("[]", "no list 'landmarks3'"),
        ("[[[1, 2], [3, 4]]]", "entry 0"),
        ('[null, "face"]', "entry 1"),
        ("[[[1, 2], [3, 4], [5]]]", "entry 0"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "talk.json"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"talk\.json.*{message}"):
        FacesFromFile(path)


def test_a_missing_landmarks_file_is_named() -> None:
    with pytest.raises(UserError, match=r"gone\.json': no such file"):
        open_face_finder("gone.json")
