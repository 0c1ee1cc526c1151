"""What the U-Net is told: in which channel, of which frames, masked where."""

import pytest
import torch
from tiny_lipsync import FRAMES, SIDE, batch, draws, tiny_autoencoder
from torch import Tensor

from latentsync.diffusion.conditioning import Conditioning, KnownLatents
from latentsync.face.mouth_mask import mouth_mask


@pytest.fixture(scope="module")
def conditioning() -> Conditioning:
    return Conditioning(tiny_autoencoder().eval(), SIDE)


def mean(conditioning: Conditioning, frames: Tensor) -> Tensor:
    """The latents of frames without the posterior's spread, which is small beside what frames differ by."""
    return conditioning.autoencoder.encode(frames, sample=False)


def test_channels_are_noisy_mask_masked_and_reference() -> None:
    shape = (2, 4, 3, 5, 5)
    known = KnownLatents(torch.full((2, 1, *shape[2:]), 1.0), torch.full(shape, 2.0), torch.full(shape, 3.0))
    stack = known.stack(torch.full(shape, 9.0))
    assert stack.shape == (2, 13, 3, 5, 5)
    assert stack[0, :, 0, 0, 0].tolist() == [9.0] * 4 + [1.0] + [2.0] * 4 + [3.0] * 4


@torch.no_grad()
def test_each_part_is_drawn_from_its_own_frames_posterior(conditioning: Conditioning) -> None:
    one = batch(2)
    assert one.target is not None
    assert one.reference is not None
    latents, own = conditioning.encode(one, draws(one)), draws(one)
    grey = one.target * mouth_mask(SIDE)
    for name, frames in (("target", one.target), ("masked", grey), ("reference", one.reference)):
        expected = own.posterior(conditioning.moments(frames), conditioning.autoencoder)
        assert torch.equal(getattr(latents, name), expected), name
        assert not torch.equal(expected, mean(conditioning, frames)), name


@torch.no_grad()
def test_frames_alone_are_their_own_reference(conditioning: Conditioning) -> None:
    one = batch()
    latents = conditioning.encode_frames(one.target, draws(one))
    assert torch.equal(latents.reference, latents.target)
    assert not torch.equal(latents.masked, latents.target)


def test_latent_mask_is_every_eighth_pixel_of_the_mouth_mask(conditioning: Conditioning) -> None:
    mask = conditioning.latent_mask(torch.zeros(2, 4, FRAMES, SIDE // 8, SIDE // 8))
    assert mask.shape == (2, 1, FRAMES, SIDE // 8, SIDE // 8)
    assert (mask == mouth_mask(SIDE)[0, ::8, ::8]).all()
    assert 0 < mask.mean() < 1


def test_masked_frames_are_grey_where_the_mouth_is_generated(conditioning: Conditioning) -> None:
    frames, keep = torch.full((1, 1, 3, SIDE, SIDE), 0.7), mouth_mask(SIDE)
    assert torch.equal(conditioning.masked(frames), frames * keep)
    generated = conditioning.outside_mouth(frames, -frames)
    assert (generated[..., (keep == 1)[0]] == 0.7).all()
    assert (generated[..., (keep == 0)[0]] == -0.7).all()
