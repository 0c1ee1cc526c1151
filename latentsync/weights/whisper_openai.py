"""OpenAI's Whisper file format into transformers: the encoder's keys and its configuration.

The published LatentSync carries Whisper as OpenAI wrote it, {"dims": …, "model_state_dict": …}; only its encoder is
used.
"""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import WhisperConfig

from latentsync.errors import UserError

TOP = {
    "positional_embedding": "embed_positions.weight",
    "conv1.weight": "conv1.weight",
    "conv1.bias": "conv1.bias",
    "conv2.weight": "conv2.weight",
    "conv2.bias": "conv2.bias",
    "ln_post.weight": "layer_norm.weight",
    "ln_post.bias": "layer_norm.bias",
}
BLOCK = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}
BLOCK_KEY = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")
DIMS = ("n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer")


def openai_to_transformers(checkpoint: Mapping[str, Any]) -> tuple[WhisperConfig, dict[str, Tensor]]:
    """Returns the configuration and the state dict of transformers' `WhisperEncoder`, from OpenAI's file as loaded.

    Every `encoder.*` key is used; decoder keys are left out, because LatentSync listens and never transcribes. Raises
    UserError when the file is of another form or holds an encoder key that Whisper does not have.
    """
    if not isinstance(checkpoint.get("dims"), Mapping) or not isinstance(checkpoint.get("model_state_dict"), Mapping):
        raise UserError('Whisper: this is not OpenAI\'s file format, which is {"dims": …, "model_state_dict": …}')
    dims = checkpoint["dims"]
    absent = [name for name in DIMS if name not in dims]
    if absent:
        raise UserError(f"Whisper: 'dims' lacks {', '.join(absent)}; fetch the file again")
    state = {}
    for key, value in checkpoint["model_state_dict"].items():
        if key.startswith("encoder."):
            state[renamed(key.removeprefix("encoder."))] = value
    width = int(dims["n_audio_state"])
    config = WhisperConfig(
        num_mel_bins=int(dims["n_mels"]),
        d_model=width,
        max_source_positions=int(dims["n_audio_ctx"]),
        encoder_layers=int(dims["n_audio_layer"]),
        encoder_attention_heads=int(dims["n_audio_head"]),
        encoder_ffn_dim=4 * width,
        decoder_layers=int(dims.get("n_text_layer", 0)),
        decoder_attention_heads=int(dims.get("n_text_head", dims["n_audio_head"])),
        decoder_ffn_dim=4 * width,
        max_target_positions=int(dims.get("n_text_ctx", 448)),
        vocab_size=int(dims.get("n_vocab", 51865)),
        pad_token_id=0,  # tokens belong to the decoder, which is not built
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=0,
    )
    return config, state


def renamed(key: str) -> str:
    """The transformers name of one encoder key ('encoder.' already taken off)."""
    if key in TOP:
        return TOP[key]
    found = BLOCK_KEY.fullmatch(key)
    if found is None or found[2] not in BLOCK:
        raise UserError(f"Whisper: unexpected key 'encoder.{key}'; this is not an OpenAI Whisper encoder")
    return f"layers.{found[1]}.{BLOCK[found[2]]}.{found[3]}"
