"""What the losses look at: synthetic heads that no embedded network was trained on, and small frozen networks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from latentsync.media.mel import log_mel, mel_window
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.video_encoder import VideoEncoder, pretrained_encoder, videomae_for_pretraining
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, draw_clip

NUM_FRAMES = 16


@pytest.fixture(scope="session")
def embedded() -> Callable[[str], Path]:
    """A function from a part's name to its folder in checkpoints/demo; skips where it has not been trained yet."""

    def folder(part: str) -> Path:
        path = Path(__file__).parents[2] / "checkpoints" / "demo" / part
        if not (path / "config.json").is_file():
            pytest.skip(f"the embedded network checkpoints/demo/{part} is not there")
        return path

    return folder


class Heads:
    """Clips of six held-out people, 3 s each at 128 × 128, and what they sound like."""

    def __init__(self) -> None:
        clips = [draw_clip(identity, 3.0, 128, seed=7) for identity in HELD_OUT_IDENTITIES[:6]]
        pictures = np.stack([clip.frames for clip in clips])  # (6, 75, 128, 128, 3)
        self.all_frames = torch.from_numpy(pictures).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
        self.mels = [log_mel(clip.wave) for clip in clips]

    def frames(self, start: int = 20) -> Tensor:
        """(6, 16, 3, 128, 128) in [-1, 1] from frame `start` on."""
        return self.all_frames[:, start : start + NUM_FRAMES]

    def mel(self, start: int = 20) -> Tensor:
        """What is heard with `frames(start)`, (6, 1, 80, 52)."""
        return torch.from_numpy(np.stack([mel_window(mel, start) for mel in self.mels]))[:, None]


@pytest.fixture(scope="session")
def heads() -> Heads:
    """See `Heads`; do not change its tensors."""
    return Heads()


def make_syncnet(**settings: bool) -> StableSyncNet:
    """Random weights, 16 frames of 64 × 64 pixels, or of 16 × 16 latents."""
    latent_space = settings.get("latent_space", False)
    audio = {
        "in_channels": 1,
        "block_out_channels": [32, 32, 32, 32, 64],
        "downsample_factors": [[2, 1], 2, 2, 4, [5, 7]],
        "attn_blocks": [0, 0, 0, 0, 0],
        "dropout": 0.1,
    }
    visual = {
        "in_channels": 64 if latent_space else 48,
        "block_out_channels": [32, 64] if latent_space else [32, 32, 64],
        "downsample_factors": [[2, 4], 4] if latent_space else [[2, 4], 4, 4],
        "attn_blocks": [0, 0] if latent_space else [0, 0, 0],
        "dropout": 0.1,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return StableSyncNet(audio, visual, resolution=16 if latent_space else 64, **settings)


def make_video_encoder() -> VideoEncoder:
    """Random weights, 16 frames of 32 × 32."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = videomae_for_pretraining(
            image_size=32,
            patch_size=16,
            num_frames=NUM_FRAMES,
            tubelet_size=2,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            decoder_hidden_size=16,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=32,
        )
    return pretrained_encoder(network)


@pytest.fixture
def syncnet() -> StableSyncNet:
    """A small SyncNet for pixels, in training mode, all weights trainable."""
    return make_syncnet()


@pytest.fixture
def latent_syncnet() -> StableSyncNet:
    """A small SyncNet for latents."""
    return make_syncnet(latent_space=True)


@pytest.fixture
def video_encoder() -> VideoEncoder:
    """A small video encoder, in training mode, all weights trainable."""
    return make_video_encoder()


@pytest.fixture(scope="session")
def assert_frozen() -> Callable[[nn.Module], None]:
    """A function that asserts that a loss is frozen: always in evaluation mode, no weight takes a gradient."""

    def check(loss: nn.Module) -> None:
        parent = nn.ModuleList([loss]).train()
        assert parent.training
        assert not any(module.training for module in loss.modules())
        assert list(loss.parameters())
        assert not any(parameter.requires_grad for parameter in loss.parameters())
        assert all(parameter.grad is None for parameter in loss.parameters())

    return check
