"""The face embedder: faces stand upright where it wants them, and it tells real people apart."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.errors import UserError
from latentsync.face import embedding
from latentsync.face.embedding import FaceEmbedder, cosine
from latentsync.face.landmarks import MediaPipeFaceFinder
from latentsync.media import read_frames


def test_faces_for_recognition_stand_upright_where_the_network_wants_them() -> None:
    points = np.zeros((478, 2))
    turn = 80 * np.array([[0.9, -0.2], [0.2, 0.9]])
    unit = (embedding.TEMPLATE - 56) / 112
    five = unit @ turn.T + [150, 120]
    for corners, place in zip((embedding._EYES[0], embedding._EYES[1]), five[:2]):
        points[list(corners)] = place
    points[embedding._NOSE] = five[2]
    points[list(embedding._MOUTH)] = five[3:]
    image = np.zeros((240, 320, 3), np.uint8)
    for place in five:
        cv2.circle(image, [round(c) for c in place.tolist()], 2, (255, 0, 0), -1)
    found = embedding.upright(image, points)
    assert found.shape == (112, 112, 3)
    for x, y in embedding.TEMPLATE.round().astype(int):
        assert found[y - 1 : y + 2, x - 1 : x + 2, 0].max() > 200
    assert embedding.cosine(np.array([1.0, 0.0]), np.array([[1.0], [1.0]])) == pytest.approx(2**-0.5)


def test_same_person_is_alike_and_other_people_are_not(shared: Path) -> None:
    weights, clips = shared / "assets" / "weights", shared / "assets" / "clips"
    embed = FaceEmbedder(weights / "mobilefacenet_fr_feature.onnx")
    found = []
    for clip in (clips / "brbk7n.mpg", clips / "lrwp9a.mpg"):
        finder = MediaPipeFaceFinder(weights / "face_landmarker.task")
        images = [frame.image for frame in islice(read_frames(clip), 0, 41, 20)]
        faces = [finder.find(image, 0.8 * number)[0] for number, image in enumerate(images)]
        found.append([embed(image, face.mesh) for image, face in zip(images, faces) if face.mesh is not None])
    (one, again, later), (other, *_) = found
    assert one.shape == (512,)
    assert min(cosine(one, again), cosine(one, later)) > 0.8
    assert cosine(one, other) < 0.5


def test_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"net\.onnx.*OpenCV cannot read it"):
        FaceEmbedder(tmp_path / "net.onnx")
