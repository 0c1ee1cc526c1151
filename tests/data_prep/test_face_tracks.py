"""Face tracks: one a face, gaps filled on a straight line, nobody mixed up."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_prep.candidate import Rejected
from data_prep.face_tracks import FaceFinders, ShotTracker, SidecarFaces, TrackEnd, TrackFrame, overlap
from latentsync.errors import UserError
from latentsync.face import Face, GivenFaces
from latentsync.media.frames import SteadyFrame

PICTURE = np.zeros((8, 8, 3), np.uint8)


def face(x: float, y: float = 50.0, size: float = 40.0) -> Face:
    points = np.array([[x - 10, y - 8], [x + 10, y - 8], [x, y + 4]])
    return Face(points, (x - size / 2, y - size / 2, x + size / 2, y + size / 2))


def track(frames: list[list[Face]], max_gap: int = 3) -> list[TrackFrame | TrackEnd]:
    tracker = ShotTracker(GivenFaces(frames), max_gap=max_gap)
    events: list[TrackFrame | TrackEnd] = []
    for index in range(len(frames)):
        events += tracker.push(SteadyFrame(index, PICTURE, index, index / 25))
    return events + list(tracker.end_shot())


def course(events: list[TrackFrame | TrackEnd], name: int) -> list[tuple[int, float, bool]]:
    return [
        (event.frame.index, round(float(event.face.landmarks3[2, 0]), 6), event.found)
        for event in events
        if isinstance(event, TrackFrame) and event.track == name
    ]


def test_gap_up_to_the_limit_is_interpolated_on_a_straight_line() -> None:
    events = track([[face(50)], [], [], [], [face(58)], [face(59)]], max_gap=3)
    assert course(events, 0) == [
        (0, 50.0, True), (1, 52.0, False), (2, 54.0, False), (3, 56.0, False), (4, 58.0, True), (5, 59.0, True),
    ]  # fmt: skip
    assert [event.track for event in events if isinstance(event, TrackEnd)] == [0]


def test_longer_gap_ends_the_track_and_begins_another() -> None:
    events = track([[face(50)], [], [], [], [], [face(50)]], max_gap=3)
    assert course(events, 0) == [(0, 50.0, True)]
    assert course(events, 1) == [(5, 50.0, True)]


def test_two_faces_keep_their_tracks_whatever_order_they_are_found_in() -> None:
    frames = [[face(50 + i), face(150 - i)][:: 1 if i % 2 else -1] for i in range(20)]
    events = track(frames)
    lines = sorted([x for _, x, _ in course(events, name)] for name in (0, 1))
    assert lines == [[50.0 + i for i in range(20)], [150.0 - i for i in range(20)]]


def test_face_found_twice_in_a_frame_is_one_track() -> None:
    events = track([[face(50), face(52)] for _ in range(5)])
    assert len(course(events, 0)) == 5
    assert course(events, 1) == []


def test_face_that_jumps_is_another_face() -> None:
    events = track([[face(50)], [face(50)], [face(200)], [face(200)]])
    assert [len(course(events, name)) for name in (0, 1)] == [2, 2]


def test_overlap_is_intersection_over_union() -> None:
    assert overlap((0, 0, 2, 2), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 0, 3, 1)) == 0


def test_landmarks_beside_the_video_are_read_by_time(tmp_path: Path) -> None:
    points = [[[40.0 + i, 40], [60 + i, 40], [50 + i, 52]] for i in range(6)]
    (tmp_path / "talk.json").write_text(json.dumps({"landmarks3": points}))
    finder = SidecarFaces(tmp_path / "talk.json")
    assert finder.find(PICTURE, 3 / 25)[0].landmarks3[0, 0] == 43, "frames 0 to 2 were passed over"
    with pytest.raises(Rejected, match="ends before the video"):
        finder.find(PICTURE, 6 / 25)
    with pytest.raises(Rejected, match="no usable landmarks"):
        SidecarFaces(tmp_path / "none.json")


def test_unknown_finder_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="mediapipe or json"):
        FaceFinders("dlib")
