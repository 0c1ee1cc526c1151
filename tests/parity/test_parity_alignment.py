"""Aligned crops, their matrices and the face pasted back are the published ones."""

import numpy as np
import torch
from golden_folder import Golden, assert_close, under_either_reading

from latentsync.face.alignment import FaceAligner, canvas_size
from latentsync.face.paste_back import paste_back

KIND = "alignment"


def assert_same_picture(ours: np.ndarray, golden: np.ndarray, what: str) -> None:
    assert ours.shape == golden.shape, what
    error = np.abs(ours.astype(int) - golden.astype(int))
    assert error.mean() <= 1, f"{what}: mean error {error.mean():.2f} levels"
    assert (error <= 8).mean() >= 0.999, f"{what}: {(error > 8).mean():.2%} of the pixels are more than 8 levels off"


def thinned(ours: np.ndarray, golden: np.ndarray) -> np.ndarray:
    """Every n-th pixel, as many as the golden holds."""
    step = round(len(ours) / len(golden))
    return ours[::step, ::step]


def stand_in(crop: np.ndarray) -> np.ndarray:
    """The manifest's stand-in for a generated face: 0.6·(crop / 127.5 − 1) + 0.2 in [−1, 1], as uint8."""
    face = (torch.from_numpy(crop).float() / 127.5 - 1) * 0.6 + 0.2
    return ((face.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()


@under_either_reading
def test_faces_are_cut_out_and_put_back_as_published(golden: Golden) -> None:
    config, arrays = golden.config, golden.arrays
    frame = golden.formula.image(*config["image"], golden.input_salt)
    aligner = FaceAligner(config["resolution"])
    faces = [aligner.align(frame, points) for points in arrays["landmarks3"]]
    assert list(canvas_size(config["resolution"])) == config["face_size_wh"]
    assert_close(np.stack([face.matrix for face in faces]), arrays["matrices"], absolute=1e-3, what="matrices")
    for name, picture in arrays.items():
        kind, _, index = name.rpartition("_")
        if kind == "face_crop":
            assert_same_picture(thinned(faces[int(index)].crop, picture), picture, name)
        if kind == "restored":
            face = faces[int(index)]
            assert_same_picture(thinned(paste_back(frame, stand_in(face.crop), face.matrix), picture), picture, name)
