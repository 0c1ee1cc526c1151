"""Attention on a CPU under mixed precision: diffusers' numbers, with the inner products in float32."""

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import nn

from latentsync.models.cpu_attention import use_cpu_attention


@pytest.fixture
def attention() -> Attention:
    torch.manual_seed(0)
    return Attention(query_dim=32, cross_attention_dim=24, heads=4, dim_head=8)


INPUTS = torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(1))
CONTEXT = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(2))


def test_full_precision_is_untouched(attention: Attention) -> None:
    before = attention(INPUTS, CONTEXT)
    use_cpu_attention(nn.Sequential(attention))
    assert torch.equal(attention(INPUTS, CONTEXT), before)


@pytest.mark.parametrize("context", [CONTEXT, None], ids=["cross", "self"])
def test_under_autocast_the_products_are_float32_and_the_result_is_the_same(
    context: torch.Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    attention = Attention(query_dim=32, cross_attention_dim=None if context is None else 24, heads=4, dim_head=8)
    exact = attention(INPUTS, context)
    use_cpu_attention(attention)
    seen = []
    product = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, k, v: seen.append({q.dtype, k.dtype, v.dtype}) or product(q, k, v)
    )
    with torch.autocast("cpu", torch.bfloat16):
        mixed = attention(INPUTS, context)
    assert seen == [{torch.float32}]
    torch.testing.assert_close(mixed.float(), exact, atol=0.02, rtol=0.05)


def test_a_mask_counts_under_autocast_too(attention: Attention) -> None:
    hidden = torch.zeros(2, 10, 5)
    hidden[..., 3:] = -1e4  # the last two tokens of the context are not to be seen
    use_cpu_attention(attention)
    with torch.autocast("cpu", torch.bfloat16):
        masked, seen = attention(INPUTS, CONTEXT, attention_mask=hidden), attention(INPUTS, CONTEXT[:, :3])
    torch.testing.assert_close(masked.float(), seen.float(), atol=0.02, rtol=0.05)
