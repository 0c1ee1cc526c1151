"""A short talking head for the front doors."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from latentsync.media import VideoWriter, encode_wav
from latentsync.synthetic.clip import draw_clip


@dataclass(frozen=True)
class Talk:
    video: Path
    audio: Path


@pytest.fixture(scope="session")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    """0.8 s in a scene, the file names as people give them."""
    folder = tmp_path_factory.mktemp("a 'talk'; ü")
    clip = draw_clip(identity_seed=100_003, seconds=0.8, resolution=64, seed=1, mode="scene")
    height, width = clip.frames.shape[1:3]
    made = Talk(folder / 'talk "1".mp4', folder / "speech; 2.wav")
    with VideoWriter(made.video, width, height, clip.fps, crf=8) as writer:
        for frame in clip.frames:
            writer.write(frame)
    made.audio.write_bytes(encode_wav(clip.wave, clip.sample_rate))
    return made
