"""The adapters of Whisper: OpenAI's file format, {"dims", "model_state_dict"}, and transformers' folders.

LatentSync listens and never transcribes: only the encoder is used.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.weights.adapter import Adapter, Content, State, read, state_of
from latentsync.weights.companions import find_part

if TYPE_CHECKING:
    from latentsync.models.audio_encoder import AudioEncoder

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


class OpenAIWhisper(Adapter):
    """OpenAI's file. Raises UserError when `dims` is absent or not whole, or for an encoder key that Whisper lacks."""

    kind, what, class_name = "whisper-openai", "Whisper, OpenAI's format", "WhisperEncoder"

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        return "encoder.positional_embedding" in state and "encoder.conv1.weight" in state

    def config(self, content: Content) -> dict[str, Any]:
        dims = content.get("dims")
        if not isinstance(dims, Mapping):
            raise UserError('Whisper: this is not OpenAI\'s file format, which is {"dims": …, "model_state_dict": …}')
        absent = [name for name in DIMS if name not in dims]
        if absent:
            raise UserError(f"Whisper: 'dims' lacks {', '.join(absent)}; fetch the file again")
        width, heads = int(dims["n_audio_state"]), int(dims["n_audio_head"])
        return {
            "num_mel_bins": int(dims["n_mels"]),
            "d_model": width,
            "max_source_positions": int(dims["n_audio_ctx"]),
            "encoder_layers": int(dims["n_audio_layer"]),
            "encoder_attention_heads": heads,
            "encoder_ffn_dim": 4 * width,
            "decoder_layers": int(dims.get("n_text_layer", 0)),
            "decoder_attention_heads": int(dims.get("n_text_head", heads)),
            "decoder_ffn_dim": 4 * width,
            "max_target_positions": int(dims.get("n_text_ctx", 448)),
            "vocab_size": int(dims.get("n_vocab", 51865)),
            # Tokens belong to the decoder, which is not built.
            **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0),
        }

    def network(self, config: Mapping[str, Any]) -> nn.Module:
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return WhisperEncoder(WhisperConfig(**{n: v for n, v in config.items() if not n.startswith("_")}))

    def from_published(self, content: Content) -> State:
        state = state_of(content)
        return {renamed(key.removeprefix("encoder.")): v for key, v in state.items() if key.startswith("encoder.")}


class TransformersWhisper(OpenAIWhisper):
    """transformers' folder, whole or the encoder alone; ours."""

    kind, what = "whisper-transformers", "Whisper, transformers' format"

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        return any(key.endswith("embed_positions.weight") for key in state)

    def config(self, content: Content) -> dict[str, Any]:
        return {}  # config.json has it

    def from_published(self, content: Content) -> State:
        from latentsync.models.audio_encoder import encoder_part

        return encoder_part(state_of(content))


def load_audio_encoder(source: Path | str, **options: Any) -> "AudioEncoder":
    """The audio encoder of a known name, of a model, of OpenAI's `.pt`, of our folder, or of a transformers Whisper
    folder, every encoder key used. options: for `AudioEncoder`, e.g. piece_overlap_seconds=0. Raises UserError.
    """
    from latentsync.models.audio_encoder import AudioEncoder

    path = find_part("audio_encoder", source)
    weights = read(path)
    if not weights.kind.startswith("whisper-"):
        raise UserError(f"audio encoder '{path}': {weights.kind} weights, not a Whisper's")
    network: Any = weights.adapter.load(weights)
    return AudioEncoder(network.float(), **options).eval().came_from(path)


def renamed(key: str) -> str:
    """The transformers name of one encoder key ('encoder.' already taken off)."""
    if key in TOP:
        return TOP[key]
    found = BLOCK_KEY.fullmatch(key)
    if found is None or found[2] not in BLOCK:
        raise UserError(f"Whisper: unexpected key 'encoder.{key}'; this is not an OpenAI Whisper encoder")
    return f"layers.{found[1]}.{BLOCK[found[2]]}.{found[3]}"
