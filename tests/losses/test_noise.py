"""The noise loss: a mean square, taken in float32."""

import pytest
import torch
from loss_inputs import inputs

from latentsync.losses.noise import NoiseLoss


def test_it_is_the_mean_square() -> None:
    noise_pred, noise = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert NoiseLoss()(inputs(model_pred=noise_pred, target=noise)).item() == pytest.approx((0 + 4 + 9 + 16) / 4)


def test_the_true_noise_costs_nothing() -> None:
    noise = torch.randn((2, 4, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    assert NoiseLoss()(inputs(model_pred=noise, target=noise)).item() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_predictions_are_squared_in_float32(dtype: torch.dtype) -> None:
    # 300² does not fit into float16, and 1 + 2⁻¹⁰ not into bfloat16.
    loss = NoiseLoss()(inputs(model_pred=torch.full((4,), 300.0, dtype=dtype), target=torch.zeros(4)))
    assert loss.dtype == torch.float32
    assert loss.item() == 90_000
