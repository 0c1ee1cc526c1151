"""The clean-latents loss looks at the generated region alone."""

import pytest
import torch
from loss_inputs import inputs
from torch import Tensor

from latentsync.losses.clean_latents import CleanLatentsLoss


def loss(clean_pred: Tensor, clean: Tensor, mask: Tensor) -> Tensor:
    return CleanLatentsLoss()(inputs(clean_pred=clean_pred, clean=clean, mask=mask))


@pytest.fixture
def mask() -> Tensor:
    """(2, 1, 3, 4, 4): the lower half is generated."""
    mask = torch.ones(2, 1, 3, 4, 4)
    mask[..., 2:, :] = 0
    return mask


def test_it_is_the_mean_absolute_error_of_the_generated_region(mask: Tensor) -> None:
    clean = torch.zeros(2, 4, 3, 4, 4)
    clean_pred = torch.full_like(clean, 5.0)  # where the mask keeps, any error is free
    clean_pred[..., 2:, :2], clean_pred[..., 2:, 2:] = 1.0, -2.0
    assert loss(clean_pred, clean, mask).item() == pytest.approx(1.5)


def test_the_size_of_the_region_does_not_weigh(mask: Tensor) -> None:
    clean, clean_pred = torch.zeros(2, 4, 3, 4, 4), torch.full((2, 4, 3, 4, 4), 0.7)
    for region in (mask, torch.zeros_like(mask)):
        assert loss(clean_pred, clean, region).item() == pytest.approx(0.7)


def test_no_gradient_outside_the_generated_region(mask: Tensor) -> None:
    clean_pred = torch.ones(2, 4, 3, 4, 4, requires_grad=True)
    loss(clean_pred, torch.zeros(2, 4, 3, 4, 4), mask).backward()
    assert clean_pred.grad is not None
    assert torch.equal(clean_pred.grad != 0, (mask == 0).expand_as(clean_pred))


def test_nothing_generated_costs_nothing() -> None:
    clean = torch.zeros(1, 4, 1, 2, 2)
    assert loss(clean + 1, clean, torch.ones(1, 1, 1, 2, 2)).item() == 0


def test_it_is_float32_for_half_precision_latents(mask: Tensor) -> None:
    clean = torch.zeros(2, 4, 3, 4, 4, dtype=torch.bfloat16)
    assert loss(clean + 1, clean, mask.bfloat16()).dtype == torch.float32
