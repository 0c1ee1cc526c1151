"""Following faces: one search a picture, short gaps closed, nobody mistaken for somebody else, cuts."""

from collections.abc import Sequence

import numpy as np

from latentsync.face.landmarks import Face, GivenFaces
from latentsync.inference.face_choice import FaceChoice
from latentsync.inference.face_track import FaceTrack, TrackedFrame
from latentsync.inference.frame_source import SourceFrame
from latentsync.inference.options import LipSyncOptions
from latentsync.media import still_picture

GREY = np.full((240, 480, 3), 120, np.uint8)
NEGATIVE = np.full((240, 480, 3), 230, np.uint8)


def face(x: float, y: float = 80, span: float = 30) -> Face:
    """A frontal face whose brows are `span` apart."""
    points = np.array([[x - span / 2, y], [x + span / 2, y], [x, y + span / 2]])
    return Face(points, (x - span, y - span / 2, x + span, y + 2 * span))


def source(index: int, position: int, image: np.ndarray = GREY) -> SourceFrame:
    """Picture `index`, shown as frame `position` at 25 a second."""
    return SourceFrame(index, still_picture(image), position)


def track(
    faces: Sequence[Sequence[Face]], images: Sequence[np.ndarray] | None = None, **options: object
) -> list[TrackedFrame]:
    """Follow given faces, one entry a picture."""
    finder = GivenFaces(faces)
    follower = FaceTrack(finder, 64, FaceChoice(LipSyncOptions(**options), finder))
    pictures = images or [GREY] * len(faces)
    return list(follower.follow(source(number, number, image) for number, image in enumerate(pictures)))


def places(frames: list[TrackedFrame]) -> list[list[int]]:
    """For each frame, the x of its faces in tens of pixels, from where the crop's middle lies."""
    found = []
    for frame in frames:
        centres = [float(np.linalg.solve(f.matrix[:, :2], [26, 35] - f.matrix[:, 2])[0]) for f in frame.faces.values()]
        found.append([round(x / 10) for x in centres])
    return found


def test_a_picture_shown_again_is_not_searched_again() -> None:
    follower = FaceTrack(GivenFaces([[face(100)], [face(110)]]), 64)  # a third search would raise IndexError
    order = [0, 1, 1, 0, 0, 1]
    frames = list(follower.follow(source(index, position) for position, index in enumerate(order)))
    assert places(frames) == [[10 + index] for index in order]


def test_a_frame_without_a_face_with_a_tiny_one_or_with_a_profile_has_none() -> None:
    tiny = Face(face(100).landmarks3 / 20, (1, 1, 5, 6))
    profile = Face(np.array([[90.0, 80.0], [110.0, 80.0], [140.0, 95.0]]), face(100).box)
    frames = track([[], [tiny], [profile], [face(100)]])
    assert [len(frame.faces) for frame in frames] == [0, 0, 0, 1]


def test_a_short_gap_is_on_the_straight_way_and_a_long_one_stays_empty() -> None:
    faces = [[face(100)], [], [], [], [face(140)], *[[]] * 8, [face(140)]]
    frames = track(faces)
    assert places(frames[:5]) == [[10], [11], [12], [13], [14]]
    assert [bool(frame.interpolated) for frame in frames[:5]] == [False, True, True, True, False]
    assert [len(frame.faces) for frame in frames[5:]] == [0] * 8 + [1]
    assert [frame.source.index for frame in frames] == list(range(14))


def test_the_largest_face_is_kept_when_another_one_grows_past_it() -> None:
    faces = [[face(100, span=40), face(300, span=30 + 3 * step)] for step in range(10)]
    assert places(track(faces)) == [[10]] * 10
    assert places(track([list(reversed(pair)) for pair in faces])) == [[10]] * 10


def test_somebody_else_is_not_taken_while_the_face_is_away_for_a_moment() -> None:
    both = [face(100, span=40), face(300)]
    assert places(track([both, *[[face(300)]] * 12, both])) == [[10], *[[]] * 12, [10]]


def test_faces_are_numbered_from_the_left_and_all_keep_their_own_numbers() -> None:
    faces = [[face(300), face(100), face(200)]] * 3
    assert places(track(faces, face="1")) == [[20]] * 3
    assert places(track(faces, face=3)) == [[]] * 3
    frames = track([faces[0], faces[0][::-1], faces[0]], face="all")
    assert [sorted(frame.faces) for frame in frames] == [[0, 1, 2]] * 3
    assert [sorted(xs) for xs in places(frames)] == [[10, 20, 30]] * 3


def test_a_cut_chooses_anew_and_fills_no_gap_across() -> None:
    faces = [[face(100, span=40)], [], [face(300, span=40)], [face(300, span=40)]]
    frames = track(faces, [GREY, GREY, NEGATIVE, NEGATIVE])
    assert [frame.cut for frame in frames] == [False, False, True, False]
    assert places(frames) == [[10], [], [30], [30]]


def test_a_new_track_forgets_the_video_before() -> None:
    finder = GivenFaces([[face(100)]])
    for _ in range(2):
        assert len(next(FaceTrack(finder, 64).follow([source(0, 0)])).faces) == 1
