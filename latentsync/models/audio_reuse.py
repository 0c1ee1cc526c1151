"""Keys and values of the audio computed once for all steps of a sampler: the audio does not change between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention


class _Reusing:
    """Attention processor that keeps the keys and values of its first call.

    audible: how many frames, the last of each call, hear the sound, None: all. Those before them have tokens of zeros
    (the unconditional half of guidance); their values are zero, too, because the projection has no bias, so that
    attention gives zero for them whatever the queries: it is left out. Told, not found: reading it from the tokens
    would make the host wait for the device.
    """

    def __init__(self, audible: int | None) -> None:
        self._audible = audible
        self._kept: tuple[Tensor, Tensor] | None = None

    def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, **unused: Any) -> Tensor:
        if self._kept is None:
            heard = encoder_hidden_states[-(self._audible or 0) :]
            self._kept = (_split(attn.to_k(heard), attn.heads), _split(attn.to_v(heard), attn.heads))
        keys, values = self._kept
        silent = len(hidden_states) - len(keys)
        queries = _split(attn.to_q(hidden_states[silent:]), attn.heads)
        mixed = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        if silent:
            mixed = torch.cat([mixed.new_zeros(silent, *mixed.shape[1:]), mixed])
        return attn.to_out[1](attn.to_out[0](mixed))


def _split(tokens: Tensor, heads: int) -> Tensor:
    """(B, L, C) to (B, heads, L, C / heads)."""
    return tokens.unflatten(2, (heads, -1)).transpose(1, 2)


@contextmanager
def audio_computed_once(unet: nn.Module, audible: int | None = None) -> Iterator[None]:
    """Within it, `unet` must be called with the same audio tokens each time; what depends on them alone is kept.

    audible: how many frames of all clips together, the last of each call, hear the sound, None: all. Before them any
    number of clips may have tokens of zeros, not the same in each call.
    """
    from diffusers.models.attention_processor import Attention

    attentions = [
        module for name, module in unet.named_modules() if name.endswith(".attn2") and isinstance(module, Attention)
    ]
    before = [attention.processor for attention in attentions]
    for attention in attentions:
        attention.processor = _Reusing(audible)
    try:
        yield
    finally:
        for attention, processor in zip(attentions, before):
            attention.processor = processor
