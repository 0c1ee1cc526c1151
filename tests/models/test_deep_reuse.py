"""Deep features reused over steps: off changes nothing, on saves the deep levels and stays near."""

import pytest
import torch
from tiny_lipsync import module
from torch import nn

from latentsync.errors import UserError
from latentsync.models.deep_reuse import DeepReuse


@pytest.fixture(scope="module")
def unet():
    return module(zero_outputs=False).unet.eval()


def inputs(unet, seed=0):
    generator = torch.Generator().manual_seed(seed)
    width = unet.config["cross_attention_dim"]
    return torch.randn(1, 13, 4, 8, 8, generator=generator), torch.randn(1, 4, 4, width, generator=generator)


@torch.no_grad()
def test_every_step_computed_is_the_plain_network(unet):
    sample, tokens = inputs(unet)
    plain = unet(sample, 500, tokens)
    each, third = DeepReuse(unet, 1), DeepReuse(unet, 3)
    assert all(torch.equal(each(sample, 500, tokens), plain) for _ in range(2))
    assert torch.equal(third(sample, 500, tokens), plain), "the first step computes everything"


@torch.no_grad()
def test_deep_levels_run_in_each_nth_step_alone(unet):
    calls = []
    hook = unet.mid_block.register_forward_hook(lambda *unused: calls.append(1))
    sample, tokens = inputs(unet)
    reusing = DeepReuse(unet, 3)
    for step in range(7):
        reusing(sample, 900 - 100 * step, tokens)
    hook.remove()
    assert len(calls) == 3


@torch.no_grad()
def test_reused_features_are_near_for_near_steps_and_follow_the_input(unet):
    sample, tokens = inputs(unet)
    near = sample + 0.02 * inputs(unet, 1)[0]
    exact = unet(near, 480, tokens)
    reusing = DeepReuse(unet, 2)
    first, reused = reusing(sample, 500, tokens), reusing(near, 480, tokens)
    assert not torch.equal(reused, exact)
    assert (reused - exact).norm() < 0.2 * exact.norm()
    assert not torch.equal(reused, first), "the full size is computed from the new input"


def test_what_makes_no_sense_is_refused(unet):
    with pytest.raises(UserError, match="feature_reuse=0"):
        DeepReuse(unet, 0)
    with pytest.raises(UserError, match="Linear cannot reuse"):
        DeepReuse(nn.Linear(1, 1), 2)
