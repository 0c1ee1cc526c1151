"""Attention under mixed precision on a CPU: its inner products in float32, where torch's kernel is fastest."""

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn


class CPUAttention(AttnProcessor2_0):
    """diffusers' attention, but on a CPU under autocast with queries, keys and values in float32.

    torch's attention kernel for CPUs takes two to three times as long in bfloat16 as in float32 for the short sequences
    and narrow heads of small networks (`benchmarks/attention.py`); the projections around it stay in bfloat16. For
    attentions without norms and a residual of their own, as the U-Net's are; one with a mask goes diffusers' way.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *rest: Any,
        **more: Any,
    ) -> Tensor:
        device = hidden_states.device.type
        if device != "cpu" or not torch.is_autocast_enabled(device) or attention_mask is not None:
            return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask, *rest, **more)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projected = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        with torch.autocast(device, enabled=False):
            queries, keys, values = (part.float().unflatten(2, (attn.heads, -1)).transpose(1, 2) for part in projected)
            mixed = F.scaled_dot_product_attention(queries, keys, values)
        return attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))


def use_cpu_attention(network: nn.Module) -> None:
    """Set the processor of every attention of `network`."""
    for module in network.modules():
        if isinstance(module, Attention):
            module.set_processor(CPUAttention())
