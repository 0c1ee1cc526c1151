"""Device and precision in the user's words."""

import pytest
import torch

from latentsync.errors import UserError
from latentsync.inference.device import choose_device, choose_dtype


def test_auto_is_a_device_that_computes() -> None:
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2


@pytest.mark.parametrize("device", ["abacus", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_refused_in_one_line(device: str) -> None:
    with pytest.raises(UserError, match=f"device={device}: cannot be used"):
        choose_device(device)


def test_precisions_are_types() -> None:
    assert [choose_dtype(p) for p in (32, "16", "bf16", torch.float32)] == [
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.float32,
    ]
    with pytest.raises(UserError, match="precision=8 is unknown"):
        choose_dtype(8)
