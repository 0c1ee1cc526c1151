"""OpenAI's Whisper file fits transformers' encoder, key by key."""

from pathlib import Path

import pytest
import torch
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from latentsync.errors import UserError
from latentsync.weights.load import load_state, load_strict
from latentsync.weights.whisper_openai import openai_to_transformers


def test_published_format_fills_the_encoder_strictly(goldens: Path) -> None:
    checkpoint = load_state(goldens / "whisper_openai_format.pt")
    config, state = openai_to_transformers(checkpoint)
    encoder = WhisperEncoder(config)
    load_strict(encoder, state, "whisper")
    source = checkpoint["model_state_dict"]
    assert torch.equal(encoder.layers[1].self_attn.k_proj.weight, source["encoder.blocks.1.attn.key.weight"])
    assert torch.equal(encoder.layers[0].fc2.bias, source["encoder.blocks.0.mlp.2.bias"])
    assert config.d_model == checkpoint["dims"]["n_audio_state"]


def test_real_english_tiny_loads(shared: Path) -> None:
    config, state = openai_to_transformers(load_state(shared / "assets" / "weights" / "tiny.en.encoder_fp16.pt"))
    load_strict(WhisperEncoder(config), state, "tiny.en")
    assert (config.d_model, config.encoder_layers, config.encoder_attention_heads) == (384, 4, 6)


def test_other_files_are_refused(goldens: Path) -> None:
    checkpoint = load_state(goldens / "whisper_openai_format.pt")
    with pytest.raises(UserError, match="OpenAI"):
        openai_to_transformers(checkpoint["model_state_dict"])
    with pytest.raises(UserError, match="n_mels"):
        openai_to_transformers({**checkpoint, "dims": {"n_audio_ctx": 1500}})
    odd = {**checkpoint["model_state_dict"], "encoder.adapter.weight": torch.zeros(1)}
    with pytest.raises(UserError, match=r"encoder\.adapter\.weight"):
        openai_to_transformers({**checkpoint, "model_state_dict": odd})
