"""Real faces, found by MediaPipe: a GRID clip and one frame of it in every picture format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.errors import UserError
from latentsync.face.landmarks import MediaPipeFaceFinder
from latentsync.inference import Fate, LipSyncPipeline
from latentsync.media import encode_wav, load_audio, probe_video, read_frames
from latentsync.weights.registry import known, place

FAST = {"num_inference_steps": 1, "seed": 5}


@pytest.fixture(scope="module")
def lip_sync(networks: dict, shared: Path) -> LipSyncPipeline:
    """Small random networks behind the real face finder."""
    models = [place(known("face-landmarker").files[0]), shared / "assets" / "weights" / "face_landmarker.task"]
    model = next((path for path in models if path.is_file()), None)
    if model is None:
        pytest.skip("needs the face landmarker: python -m latentsync.weights fetch face-landmarker")
    return LipSyncPipeline(**networks, face_finder=MediaPipeFaceFinder(model), resolution=64)


@pytest.fixture(scope="module")
def clip(shared: Path) -> Path:
    """A GRID clip: 3 s, 360 × 288, 25 fps, MPEG-1 with its own sound."""
    clips = sorted((shared / "assets" / "clips").glob("*.mpg"))
    if not clips:
        pytest.skip("needs a GRID clip in ../shared/assets/clips")
    return clips[0]


def test_a_real_clip_speaks_its_own_sound(lip_sync: LipSyncPipeline, clip: Path, tmp_path: Path) -> None:
    report = lip_sync(clip, None, tmp_path / "out.mp4", **FAST)
    source, info = probe_video(clip), probe_video(report.output)
    assert (info.width, info.height, info.fps) == (source.width, source.height, 25)
    assert abs(info.num_frames - source.num_frames) <= 1
    assert abs(len(load_audio(report.output)) - len(load_audio(clip))) <= 640 + 1024
    assert report.count(Fate.GENERATED) == report.num_frames


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_one_frame_of_it_speaks_in_every_picture_format(
    lip_sync: LipSyncPipeline, clip: Path, tmp_path: Path, suffix: str
) -> None:
    picture = tmp_path / f"face{suffix}"
    Image.fromarray(next(read_frames(clip)).image).save(picture)
    (tmp_path / "speech.wav").write_bytes(encode_wav(load_audio(clip)[:16000], 16000))
    report = lip_sync(picture, tmp_path / "speech.wav", tmp_path / "out.mp4", **FAST)
    assert (report.num_frames, probe_video(report.output).num_frames) == (25, 25)
    assert report.count(Fate.GENERATED) == 25


def test_a_picture_without_a_face_is_refused(lip_sync: LipSyncPipeline, clip: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    with pytest.raises(UserError, match=r"noise\.png': no face found in the picture"):
        lip_sync(tmp_path / "noise.png", clip, tmp_path / "out.mp4", **FAST)
    assert [path.name for path in tmp_path.iterdir()] == ["noise.png"]
