"""Clips of a second or two whose frames show their own number, for the tests of the loader."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentsync.data.sample import ClipSample
from latentsync.data.shard_writer import ShardWriter
from latentsync.media.audio import encode_wav
from latentsync.media.video_writer import encode_clip

SIZE = 32
FRAMES = 12  # with windows of 4 frames, three windows


def metadata(num_frames: int = FRAMES, **changes: Any) -> dict[str, Any]:
    """Metadata as the contract wants it."""
    base = {
        "source": "tiny.mp4",
        "start": 0.0,
        "end": num_frames / 25,
        "fps": 25,
        "resolution": SIZE,
        "num_frames": num_frames,
        "software_version": "test",
    }
    return {**base, **changes}


def wave(num_frames: int = FRAMES, seed: int = 0) -> np.ndarray:
    """Noise that grows louder, (N,) at 16 kHz."""
    samples = num_frames * 640
    noise = np.random.default_rng(seed).uniform(-1, 1, samples)
    return (noise * np.linspace(0.01, 0.5, samples)).astype(np.float32)


def grey_frames(num_frames: int = FRAMES, size: int = SIZE) -> np.ndarray:
    """Frame i is grey of level 40 + 10 · i."""
    levels = 40 + 10 * np.arange(num_frames)
    return np.broadcast_to(levels[:, None, None, None], (num_frames, size, size, 3)).astype(np.uint8)


_video: dict[tuple[int, int], bytes] = {}


def tiny_clip(key: str, num_frames: int = FRAMES, size: int = SIZE, **parts: Any) -> ClipSample:
    """A clip of grey frames with growing noise; `parts` replace parts of the sample."""
    if (num_frames, size) not in _video:
        _video[num_frames, size] = encode_clip(grey_frames(num_frames, size), crf=4)
    base: dict[str, Any] = {
        "video": _video[num_frames, size],
        "audio": encode_wav(wave(num_frames), 16000),
        "metadata": metadata(num_frames, resolution=size),
    }
    return ClipSample(key, **{**base, **parts})


def write_shards(folder: Any, samples: list[ClipSample], clips_per_shard: int = 4) -> None:
    """Write the samples in order."""
    with ShardWriter(folder, clips_per_shard) as writer:
        for sample in samples:
            writer.write(sample)


class LoudnessTokens:
    """Stands for an audio encoder: tokens (N, 4, 16) out of the sound alone."""

    def hidden_states(self, wave: np.ndarray) -> Tensor:
        steps = torch.from_numpy(wave[: len(wave) // 320 * 320]).reshape(-1, 320)
        return steps.abs().mean(1, keepdim=True) * torch.linspace(-30, 30, 64)

    def frame_tokens(self, hidden: Tensor, num_frames: int, fps: float = 25) -> Tensor:
        return hidden[: 2 * num_frames : 2].reshape(num_frames, 4, 16)
