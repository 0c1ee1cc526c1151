"""The checks without U-Net take other lengths, sizes, salts and names too; the answers here are this repository's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_folder import COMMITTED, GoldenFolder
from test_corrupted_goldens import check_of
from test_parity_alignment import stand_in
from test_parity_audio import published_encoder

from latentsync.diffusion.schedule import NoiseSchedule
from latentsync.face.alignment import FaceAligner, canvas_size
from latentsync.face.mouth_mask import mouth_mask
from latentsync.face.paste_back import paste_back
from latentsync.media.mel import log_mel

SALT = 3
FORMULA = GoldenFolder(COMMITTED).formula


def folder_of(path: Path, name: str, entry: dict[str, Any], **arrays: np.ndarray) -> GoldenFolder:
    """A folder of one golden; a table of its arrays goes into the manifest."""
    table = {key: [list(array.shape), str(array.dtype)] for key, array in arrays.items()}
    (path / "manifest.json").write_text(json.dumps({name: {"salt": SALT, "arrays": table, **entry}}))
    if arrays:
        np.savez(path / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    return GoldenFolder(path)


def test_mel_of_another_sound(tmp_path: Path) -> None:
    mel = log_mel(FORMULA.wave(1.3, 16000, SALT))
    folder = folder_of(tmp_path, "mel_x", {"config": {"seconds": 1.3, "rate": 16000}}, mel=mel)
    assert folder.names("mel") == ["mel_x"]
    check_of("mel")(folder.golden("mel_x"))


@pytest.mark.parametrize("resolution", [64, 512])
def test_mouth_mask_of_another_size(resolution: int, tmp_path: Path) -> None:
    rows: list[list[list[int]]] = []
    for row in mouth_mask(resolution)[0] < 0.5:
        edges = np.flatnonzero(np.diff(np.pad(row.numpy().astype(int), 1)))
        rows.append([[int(first), int(after) - 1] for first, after in edges.reshape(-1, 2)])
    folder = folder_of(tmp_path, "mask_y", {"meaning": "…", "rows": rows})
    assert folder.names("mouth_mask") == ["mask_y"]
    check_of("mouth_mask")(folder.golden("mask_y"))


def test_alignment_at_512(tmp_path: Path) -> None:
    frame = FORMULA.image(480, 720, SALT)
    points = np.array(
        [[[300.0, 160.0], [420.0, 158.0], [362.0, 240.0]], [[303.0, 161.0], [424.0, 157.0], [364.0, 242.0]]]
    )
    aligner = FaceAligner(512)
    faces = [aligner.align(frame, face) for face in points]
    restored = paste_back(frame, stand_in(faces[1].crop), faces[1].matrix)
    folder = folder_of(
        tmp_path,
        "align_512",
        {"config": {"resolution": 512, "image": [480, 720], "face_size_wh": list(canvas_size(512))}},
        landmarks3=points,
        matrices=np.stack([face.matrix for face in faces]),
        face_crop_1=faces[1].crop[::4, ::4],
        restored_1=restored[::3, ::3],
    )
    assert folder.names("alignment") == ["align_512"]
    check_of("alignment")(folder.golden("align_512"))


def test_schedule_at_other_timesteps(tmp_path: Path) -> None:
    shape, timesteps = (3, 4, 2, 8, 8), [0, 500, 998]
    x0, eps, pred = (torch.from_numpy(FORMULA.tensor(name, shape, SALT)) for name in ("x0", "eps", "pred"))
    schedule = NoiseSchedule()
    noisy = schedule.add_noise(x0, eps, torch.tensor(timesteps))
    clean = schedule.clean_estimate(noisy, pred, torch.tensor(timesteps))
    arrays = {"alphas_cumprod": schedule.alphas_cumprod, "noisy": noisy, "clean_estimate": clean}
    entry = {"config": {"timesteps": timesteps}}
    folder = folder_of(tmp_path, "schedule_z", entry, **{key: value.numpy() for key, value in arrays.items()})
    check_of("schedule")(folder.golden("schedule_z"))


def test_audio_tokens_of_another_whisper(tmp_path: Path) -> None:
    """Three layers of width 32 instead of two of 48, 1.5 s at 30 frames a second."""
    committed = GoldenFolder(COMMITTED).manifest["audio_tokens_3s"]
    table = {}
    for key, shape in committed["state_dict"].items():
        if key.startswith("encoder."):
            smaller = [32 * size // 48 if size % 48 == 0 else size for size in shape]
            table[key] = smaller
            if key.startswith("encoder.blocks.1."):
                table[key.replace("blocks.1.", "blocks.2.")] = smaller
    dims = {**committed["config"]["dims"], "n_audio_state": 32, "n_audio_head": 4, "n_audio_layer": 3}
    config = {"dims": dims, "seconds": 1.5, "fps": 30, "frames_listed": [0, 7, 44], "num_chunks": 46}
    entry = {"config": {**config, "feature_shape": [75, 4, 32]}, "state_dict": table}
    without_answers = tmp_path / "without_answers"
    without_answers.mkdir()
    encoder = published_encoder(folder_of(without_answers, "audio_tokens_w", entry).golden("audio_tokens_w"))
    with torch.inference_mode():
        hidden = encoder.hidden_states(FORMULA.wave(1.5, salt=SALT))
        tokens = encoder.frame_tokens(hidden, 46, 30)
    pieces = {"features_head": hidden[:8], "features_tail": hidden[-8:], "features_1495_1505": hidden[1495:1505]}
    arrays = {**pieces, "tokens": tokens[[0, 7, 44]]}
    folder = folder_of(tmp_path, "audio_tokens_w", entry, **{key: value.numpy() for key, value in arrays.items()})
    assert tokens.shape == (46, 40, 32)
    assert folder.names("audio_tokens") == ["audio_tokens_w"]
    check_of("audio_tokens")(folder.golden("audio_tokens_w"))
