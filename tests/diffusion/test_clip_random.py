"""Every draw follows seed, epoch and clip alone, and has the range and the spread that it says."""

import pytest
import torch
from torch import Tensor

from latentsync.diffusion.clip_random import ClipRandom
from latentsync.models.autoencoder import FrameAutoencoder


class Unscaled:
    """A FrameAutoencoder's sampling without its networks."""

    scale, shift = 1.0, 0.0
    sample_moments = FrameAutoencoder.sample_moments


LATENTS = torch.zeros(3, 4, 2, 8, 8)
MOMENTS = torch.cat([torch.full((3, 2, 4, 8, 8), 5.0), torch.full((3, 2, 4, 8, 8), 2.0)], dim=2)
DRAWS = {
    "posterior": lambda draws: draws.posterior(MOMENTS[: len(draws.generators)], Unscaled()),
    "noise": lambda draws: draws.noise(LATENTS[: len(draws.generators)], 1.0),
    "timesteps": lambda draws: draws.timesteps(1000),
    "dropout": lambda draws: draws.dropout(torch.ones(len(draws.generators), 2, 3, 4), 0.5).flatten(1)[:, 0],
    "shown frames": lambda draws: draws.shown_frames(64, 5),
}


@pytest.mark.parametrize("name", list(DRAWS))
def test_a_clips_numbers_are_those_of_seed_epoch_and_key_whatever_the_batch(name: str) -> None:
    draw = DRAWS[name]
    whole = draw(ClipRandom.of(["a", "b", "c"], seed=7, epoch=2))
    assert torch.equal(whole, draw(ClipRandom.of(["a", "b", "c"], seed=7, epoch=2)))
    alone = torch.cat([draw(ClipRandom.of([key], seed=7, epoch=2)) for key in "abc"])
    assert torch.equal(whole, alone)


@pytest.mark.parametrize("name", [name for name in DRAWS if name != "dropout"])
@pytest.mark.parametrize("other", [{"seed": 8}, {"epoch": 3}, {"keys": ["x"]}])
def test_another_seed_epoch_or_clip_gives_other_numbers(name: str, other: dict) -> None:
    given = {"keys": ["a"], "seed": 7, "epoch": 2}
    one, two = (DRAWS[name](ClipRandom.of(**settings)) for settings in (given, given | other))
    assert not torch.equal(one, two)


def test_timesteps_are_uniform_over_the_whole_range() -> None:
    drawn = ClipRandom.of([str(number) for number in range(4000)], seed=0).timesteps(10)
    assert drawn.dtype == torch.int64
    counts = torch.bincount(drawn, minlength=10)
    assert len(counts) == 10
    assert (counts - 400).abs().max() < 100  # five deviations of a count


def test_a_shift_moves_timesteps_towards_noise() -> None:
    """u → s·u / (1 + (s − 1)·u): with s = 3 half of all timesteps lie above 3/4."""
    keys = [str(number) for number in range(4000)]
    uniform, moved = ClipRandom.of(keys, seed=0).timesteps(1000), ClipRandom.of(keys, seed=0).timesteps(1000, shift=3.0)
    assert moved.max() < 1000
    assert moved.min() >= 0
    assert moved.double().median() == pytest.approx(750, abs=25)
    assert (moved[uniform.argsort()].diff() >= 0).all()  # the same draws, moved


def test_posterior_is_of_the_moments_mean_and_deviation() -> None:
    many = MOMENTS[:1].expand(500, -1, -1, -1, -1)
    drawn = ClipRandom.of([str(number) for number in range(500)], seed=0).posterior(many, Unscaled())  # type: ignore[arg-type]
    assert drawn.shape == (500, 4, 2, 8, 8)
    assert float(drawn.mean()) == pytest.approx(5, abs=0.05)
    assert float(drawn.std()) == pytest.approx(2, abs=0.05)


def test_shown_frames_are_different_ones_in_order_and_none_stands_for_all() -> None:
    draws = ClipRandom.of([str(number) for number in range(300)], seed=0)
    shown: Tensor | None = draws.shown_frames(16, 5)
    assert shown is not None
    assert shown.shape == (300, 5)
    assert (shown.diff(dim=1) > 0).all()
    assert set(shown.flatten().tolist()) == set(range(16))
    assert draws.shown_frames(16, None) is None
    assert draws.shown_frames(16, 16) is None


def test_dropout_of_zero_takes_no_number() -> None:
    one, two = ClipRandom.of(["a"], seed=0), ClipRandom.of(["a"], seed=0)
    tokens = torch.ones(1, 2, 3, 4)
    assert one.dropout(tokens, 0.0) is tokens
    assert torch.equal(one.timesteps(1000), two.timesteps(1000))
