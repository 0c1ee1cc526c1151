"""Guidance extrapolates from "no audio" to the audio; "no audio" is zeros."""

import pytest
import torch

from latentsync.diffusion.guidance import check_guidance_scale, guide, unconditional
from latentsync.errors import UserError


def test_guidance_is_a_straight_line_through_both_answers() -> None:
    uncond, cond = torch.tensor([1.0, -2.0]), torch.tensor([3.0, 0.0])
    assert torch.equal(guide(uncond, cond, 0.0), uncond)
    assert torch.equal(guide(uncond, cond, 1.0), cond)
    assert torch.equal(guide(uncond, cond, 2.5), torch.tensor([6.0, 3.0]))


def test_no_audio_is_zeros_of_the_same_kind() -> None:
    tokens = torch.ones(1, 2, 5, 3, dtype=torch.bfloat16)
    assert torch.equal(unconditional(tokens), torch.zeros(1, 2, 5, 3, dtype=torch.bfloat16))


@pytest.mark.parametrize("scale", [-0.1, 10.5, 11.0, float("nan")])
def test_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(UserError, match="guidance_scale"):
        check_guidance_scale(scale)


def test_ends_of_the_range_are_allowed() -> None:
    check_guidance_scale(0)
    check_guidance_scale(10)
