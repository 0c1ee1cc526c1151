"""Crops that come again are not encoded again, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from latentsync.diffusion.conditioning import Conditioning
from latentsync.inference.crop_moments import CropMoments

SIDE = 64


@pytest.fixture
def encoded(networks: dict, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call of the encoder brought."""
    counts: list[int] = []
    vae = networks["autoencoder"].vae
    real = vae.encode
    monkeypatch.setattr(vae, "encode", lambda frames: counts.append(len(frames)) or real(frames))
    return counts


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 255, (count, SIDE, SIDE, 3), np.uint8))


def as_frames(crops: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.inference_mode()
def test_a_still_is_encoded_once_for_all_windows(networks: dict, encoded: list[int]) -> None:
    moments = CropMoments(Conditioning(networks["autoencoder"], SIDE))
    still = images(1) * 16
    first, second = moments(still, as_frames(still)), moments(still, as_frames(still))
    assert encoded == [1, 1], "the crop, and the masked crop"
    for one, other in zip(first, second):
        assert torch.equal(one, other)
        assert torch.equal(one[0], one[15])


@torch.inference_mode()
def test_moments_are_those_of_encoding_every_crop(networks: dict, encoded: list[int]) -> None:
    conditioning = Conditioning(networks["autoencoder"], SIDE)
    crops = images(4)
    shown = [crops[number] for number in (0, 1, 0, 2, 3, 3)]
    frames = as_frames(shown)
    expected = [conditioning.moments(part[None])[0] for part in (frames, conditioning.masked(frames))]
    encoded.clear()
    moments = CropMoments(conditioning, most=2)
    for _ in range(2):
        for part, right in zip(moments(shown, frames), expected, strict=True):
            torch.testing.assert_close(part, right, atol=1e-4, rtol=1e-4)
    assert encoded == [4, 4, 2, 2], "two of four were remembered"
