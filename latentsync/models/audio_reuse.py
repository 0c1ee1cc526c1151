"""Keys and values of the audio computed once for all steps of a sampler: the audio does not change between them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


class _Reusing:
    """Attention processor that keeps the keys and values of its first call.

    Clips whose tokens are all zero (the unconditional half of guidance) come first; their values are zero, too, because
    the projection has no bias, so that attention gives zero for them whatever the queries: it is left out.
    """

    def __init__(self) -> None:
        self._kept: tuple[Tensor, Tensor, int] | None = None

    def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **unused: Any) -> Tensor:
        if self._kept is None:
            silent = encoder_hidden_states.flatten(1).any(dim=1)
            silenced = int(silent.nonzero()[0]) if silent.any() else len(silent)
            heard = encoder_hidden_states[silenced:]
            self._kept = (_split(attn.to_k(heard), attn.heads), _split(attn.to_v(heard), attn.heads), silenced)
        keys, values, silenced = self._kept
        queries = _split(attn.to_q(hidden_states[silenced:]), attn.heads)
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        if silenced:
            mixed = torch.cat([mixed.new_zeros(silenced, *mixed.shape[1:]), mixed])
        return attn.to_out[1](attn.to_out[0](mixed))


def _split(tokens: Tensor, heads: int) -> Tensor:
    """(B, L, C) to (B, heads, L, C / heads)."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


@contextmanager
def audio_computed_once(unet: nn.Module) -> Iterator[None]:
    """Within it, `unet` must be called with the same audio tokens each time; what depends on them alone is kept."""
    attentions = [
        module for name, module in unet.named_modules() if name.endswith(".attn2") and isinstance(module, Attention)
    ]
    before = [attention.processor for attention in attentions]
    for attention in attentions:
        attention.processor = _Reusing()
    try:
        yield
    finally:
        for attention, processor in zip(attentions, before):
            attention.processor = processor
