"""Mixed noise: unit variance, and frames that correlate by α² / (1 + α²)."""

import pytest
import torch

from latentsync.diffusion.mixed_noise import mixed_noise
from latentsync.errors import UserError

SHAPE = (2, 4, 5, 64, 64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0])
def test_variance_is_one_and_frames_correlate_as_the_formula_says(alpha: float) -> None:
    noise = mixed_noise(SHAPE, alpha, generator())
    assert noise.shape == SHAPE
    assert noise.var().item() == pytest.approx(1, abs=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    correlation = torch.corrcoef(noise.transpose(0, 2).flatten(1))  # (F, F), over 32 K samples
    expected = torch.full((5, 5), alpha**2 / (1 + alpha**2)).fill_diagonal_(1)
    torch.testing.assert_close(correlation, expected, atol=0.02, rtol=0)


def test_clips_and_channels_are_independent() -> None:
    noise = mixed_noise(SHAPE, 1.0, generator())
    correlation = torch.corrcoef(noise.flatten(0, 1).flatten(1))  # (B·C, B·C)
    torch.testing.assert_close(correlation, torch.eye(8), atol=0.04, rtol=0)


def test_generator_alone_decides() -> None:
    torch.manual_seed(1)
    first = mixed_noise(SHAPE, 1.0, generator(7))
    torch.manual_seed(2)
    assert torch.equal(mixed_noise(SHAPE, 1.0, generator(7)), first)
    assert not torch.equal(mixed_noise(SHAPE, 1.0, generator(8)), first)


def test_negative_alpha_is_refused() -> None:
    with pytest.raises(UserError, match="mixed_noise_alpha=-1"):
        mixed_noise(SHAPE, -1, generator())
