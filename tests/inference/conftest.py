"""A pipeline small enough for tests: random networks of the real classes, synthetic heads and their voices."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from latentsync.media import VideoWriter, encode_wav
from latentsync.synthetic.clip import draw_clip

RESOLUTION = 64


@dataclass(frozen=True)
class Head:
    """A synthetic head in a scene: `video` without sound, its voice `audio`, its landmarks (`faces`, `landmarks3`)."""

    video: Path
    audio: Path
    faces: Path
    frames: np.ndarray
    wave: np.ndarray
    landmarks3: np.ndarray
    resolution: int = RESOLUTION

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.frames.shape[2], self.frames.shape[1]


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Head:
    """1.4 s of one person: 35 frames, two whole windows and three frames."""
    folder = tmp_path_factory.mktemp("head")
    clip = draw_clip(identity_seed=100_003, seconds=1.4, resolution=RESOLUTION, seed=1, mode="scene")
    height, width = clip.frames.shape[1:3]
    with VideoWriter(folder / "talk.mp4", width, height, clip.fps, crf=8) as writer:
        for frame in clip.frames:
            writer.write(frame)
    (folder / "speech.wav").write_bytes(encode_wav(clip.wave, clip.sample_rate))
    (folder / "talk.json").write_text(json.dumps(clip.truth()))
    paths = (folder / "talk.mp4", folder / "speech.wav", folder / "talk.json")
    return Head(*paths, clip.frames, clip.wave, clip.landmarks3)


def make_networks() -> dict:
    """U-Net, autoencoder and audio encoder with random weights, always the same: under a million numbers together."""
    from diffusers import AutoencoderKL

    from latentsync.models.audio_encoder import AudioEncoder
    from latentsync.models.autoencoder import FrameAutoencoder
    from latentsync.models.unet import UNet3DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        audio_encoder = AudioEncoder.from_config(
            d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32
        )
        unet = UNet3DConditionModel(
            in_channels=13,
            out_channels=4,
            block_out_channels=[32, 32, 32, 32],
            layers_per_block=1,
            attention_head_dim=8,
            cross_attention_dim=16,
            norm_num_groups=32,
            use_motion_module=True,
        )
        unet.register_to_config(resolution=RESOLUTION, num_frames=16)
        for convolution in (unet.conv_in, unet.conv_out):  # zero at the start of training: nothing would pass
            torch.nn.init.normal_(convolution.weight, std=0.1)
        vae = AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=[8, 8, 8, 8],
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            mid_block_add_attention=False,
            sample_size=RESOLUTION,
        )
    return {"unet": unet, "autoencoder": FrameAutoencoder(vae), "audio_encoder": audio_encoder}


@pytest.fixture(scope="session")
def networks() -> dict:
    """See `make_networks`; do not change them."""
    return make_networks()


@pytest.fixture(scope="session")
def bundle(networks: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks as a folder that `weights=` takes."""
    folder = tmp_path_factory.mktemp("bundle")
    networks["unet"].save_pretrained(folder / "unet")
    networks["autoencoder"].vae.save_pretrained(folder / "vae")
    networks["audio_encoder"].save_pretrained(folder / "audio_encoder")
    return folder
