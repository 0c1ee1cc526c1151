"""The person of a picture is found among others, and who is not in the video is said to be absent."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.errors import UserError
from latentsync.face.landmarks import Face, GivenFaces, MediaPipeFaceFinder
from latentsync.face.tracking import TrackedFace
from latentsync.inference.face_choice import FaceChoice, check_face
from latentsync.inference.face_track import FaceTrack
from latentsync.inference.frame_source import SourceFrame
from latentsync.inference.options import LipSyncOptions
from latentsync.inference.pipeline import LipSyncPipeline
from latentsync.media import VideoWriter, read_frames, still_picture

VIDEO = Path("talk.mp4")
RED, GREEN = np.array([255, 0, 0], np.uint8), np.array([0, 255, 0], np.uint8)


def face(x: float) -> Face:
    points = np.array([[x - 15, 80.0], [x + 15, 80], [x, 95]])
    return Face(points, (x - 30, 65, x + 30, 140), mesh=np.full((478, 2), (x, 80)))


def colour_at(image: np.ndarray, mesh: np.ndarray) -> np.ndarray:
    """An embedder that knows people by the colour of their noses."""
    x, y = mesh[4].astype(int)
    return image[y, x].astype(np.float32) - 85


def scene(*colours: np.ndarray) -> np.ndarray:
    image = np.full((240, 480, 3), 120, np.uint8)
    for number, colour in enumerate(colours):
        image[70:90, 90 + 200 * number : 110 + 200 * number] = colour
    return image


def chosen_by(picture: Path) -> FaceChoice:
    return FaceChoice(LipSyncOptions(face=str(picture)), GivenFaces([[face(100)]]), colour_at)


def test_the_person_of_the_picture_is_chosen_wherever_they_stand(tmp_path: Path) -> None:
    Image.fromarray(scene(GREEN)).save(tmp_path / "anna.png")
    people = [TrackedFace(7, face(100)), TrackedFace(8, face(300))]
    for image, expected in ((scene(RED, GREEN), 8), (scene(GREEN, RED), 7)):
        choice = chosen_by(tmp_path / "anna.png")
        assert [one.track for one in choice(people, image, lambda track: True)] == [expected]
        assert [one.track for one in choice(people[::-1], scene(RED, RED), lambda track: True)] == [expected]


def test_nobody_is_chosen_who_is_not_the_person_and_the_line_says_so(tmp_path: Path) -> None:
    Image.fromarray(scene(GREEN)).save(tmp_path / "anna.png")
    choice = chosen_by(tmp_path / "anna.png")
    assert choice.absent(VIDEO) is None  # no face was seen: another line tells that
    assert choice([TrackedFace(0, face(100))], scene(RED), lambda track: True) == []
    line = str(choice.absent(VIDEO))
    assert "anna.png': the person is not in 'talk.mp4' (likeness -" in line
    assert "\n" not in line
    third = FaceChoice(LipSyncOptions(face=2), GivenFaces([]))
    assert third([TrackedFace(0, face(100)), TrackedFace(1, face(300))], scene(), lambda track: True) == []
    assert "face=2: 'talk.mp4' never shows more than 2 at once; give 0 to 1" in str(third.absent(VIDEO))


def test_pictures_that_cannot_choose_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(scene()).save(tmp_path / "anna.png")
    options = LipSyncOptions(face=str(tmp_path / "anna.png"))
    with pytest.raises(UserError, match=r"anna\.png': no face found in the picture"):
        FaceChoice(options, GivenFaces([[]]), colour_at)
    with pytest.raises(UserError, match="needs faces=mediapipe"):
        FaceChoice(options, GivenFaces([face(100).landmarks3]), colour_at)
    with pytest.raises(UserError, match="no such picture"):
        check_face(LipSyncOptions(face=str(tmp_path / "gone.png")))
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path)
    command = r"anna\.png: needs the face embedder 'mobilefacenet': .*fetch mobilefacenet`$"
    with pytest.raises(UserError, match=command):
        check_face(options)


@pytest.fixture
def finder(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MediaPipeFaceFinder:
    """The real finder, with the real embedder where `fetch` would put it."""
    weights = shared / "assets" / "weights"
    (tmp_path / "checkpoints").mkdir()
    monkeypatch.chdir(tmp_path)
    for name, here in (("mobilefacenet_fr_feature.onnx", "mobilefacenet.onnx"), ("face_landmarker.task",) * 2):
        if not (weights / name).is_file():
            pytest.skip(f"needs {name} in ../shared/assets/weights")
        (tmp_path / "checkpoints" / here).symlink_to(weights / name)
    return MediaPipeFaceFinder("checkpoints/face_landmarker.task")


def still(clip: Path, target: Path) -> Path:
    Image.fromarray(next(read_frames(clip)).image).save(target)
    return target


def side_by_side(*clips: Path) -> list[np.ndarray]:
    """Eight pictures that show the people of both clips."""
    return [np.hstack([a.image, b.image]) for a, b in islice(zip(*map(read_frames, clips)), 8)]


def test_each_of_two_real_people_is_chosen_by_a_still_of_another_clip(
    shared: Path, finder: MediaPipeFaceFinder, tmp_path: Path
) -> None:
    others = shared / "data" / "grid" / "others"
    pictures = side_by_side(others / "f_s33_a.mpg", others / "m_s30_a.mpg")
    width = pictures[0].shape[1]
    for number, clip in enumerate(("f_s33_b.mpg", "m_s30_b.mpg")):
        options = LipSyncOptions(face=str(still(others / clip, tmp_path / f"{number}.png")))
        track = FaceTrack(finder, 64, FaceChoice(options, finder))
        found = list(track.follow(SourceFrame(i, still_picture(image), i) for i, image in enumerate(pictures)))
        places = [
            np.linalg.solve(f.matrix[:, :2], [26, 35] - f.matrix[:, 2])[0] for t in found for f in t.faces.values()
        ]
        assert len(places) == len(pictures)
        assert all((place > width / 2) == bool(number) for place in places)


def test_somebody_who_is_not_in_the_video_is_one_line_and_no_file(
    shared: Path, finder: MediaPipeFaceFinder, networks: dict, tmp_path: Path
) -> None:
    grid = shared / "data" / "grid"
    pictures = side_by_side(grid / "others" / "f_s33_a.mpg", grid / "others" / "m_s30_a.mpg")
    with VideoWriter(tmp_path / "two.mp4", *pictures[0].shape[1::-1], fps=25) as writer:
        for picture in pictures:
            writer.write(picture)
    picture = still(grid / "others" / "m14.mpg", tmp_path / "other.png")
    pipeline = LipSyncPipeline(**networks, face_finder=finder, resolution=64)
    with pytest.raises(UserError, match=r"other\.png': the person is not in '.*two\.mp4'"):
        pipeline(tmp_path / "two.mp4", grid / "others" / "m14.mpg", tmp_path / "out.mp4", face=str(picture), seed=1)
    assert not list(tmp_path.glob("*out*"))
