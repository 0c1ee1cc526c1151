"""Whisper in OpenAI's and in transformers' format fills one encoder, key by key; other files are refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentsync.errors import UserError
from latentsync.models.weight_files import load_state
from latentsync.weights.whisper import OpenAIWhisper, load_audio_encoder

ADAPTER = OpenAIWhisper()


def test_published_format_fills_the_encoder_strictly(goldens: Path) -> None:
    encoder = load_audio_encoder(goldens / "whisper_openai_format.pt").encoder
    checkpoint = load_state(goldens / "whisper_openai_format.pt")
    source = checkpoint["model_state_dict"]
    assert torch.equal(encoder.layers[1].self_attn.k_proj.weight, source["encoder.blocks.1.attn.key.weight"])
    assert torch.equal(encoder.layers[0].fc2.bias, source["encoder.blocks.0.mlp.2.bias"])
    assert encoder.config.d_model == checkpoint["dims"]["n_audio_state"]


def test_real_english_tiny_loads(shared: Path) -> None:
    encoder = load_audio_encoder(shared / "assets" / "weights" / "tiny.en.encoder_fp16.pt").encoder
    config = encoder.config
    assert (config.d_model, config.encoder_layers, config.encoder_attention_heads) == (384, 4, 6)


def test_other_files_are_refused(goldens: Path, tmp_path: Path) -> None:
    checkpoint = load_state(goldens / "whisper_openai_format.pt")
    with pytest.raises(UserError, match="OpenAI"):
        ADAPTER.config(checkpoint["model_state_dict"])
    with pytest.raises(UserError, match="n_mels"):
        ADAPTER.config({**checkpoint, "dims": {"n_audio_ctx": 1500}})
    odd = {**checkpoint["model_state_dict"], "encoder.adapter.weight": torch.zeros(1)}
    with pytest.raises(UserError, match=r"encoder\.adapter\.weight"):
        ADAPTER.from_published({**checkpoint, "model_state_dict": odd})
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "vgg.pt")
    with pytest.raises(UserError, match="lpips-backbone weights, not a Whisper's"):
        load_audio_encoder(tmp_path / "vgg.pt")


def test_whisper_in_either_format_gives_the_same_tokens(goldens: Path, formula: Any, tmp_path: Path) -> None:
    published = load_audio_encoder(goldens / "whisper_openai_format.pt", piece_overlap_seconds=0)
    published.save_pretrained(tmp_path / "whisper")
    ours = load_audio_encoder(tmp_path / "whisper", piece_overlap_seconds=0)
    wave = formula.wave(0.5)
    with torch.no_grad():
        np.testing.assert_array_equal(published.hidden_states(wave), ours.hidden_states(wave))


def test_whole_transformers_whisper_gives_its_encoder(goldens: Path, tmp_path: Path) -> None:
    published = load_audio_encoder(goldens / "whisper_openai_format.pt")
    state = {f"model.encoder.{key}": value for key, value in published.encoder.state_dict().items()}
    torch.save({**state, "model.decoder.layer_norm.weight": torch.ones(48)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(published.encoder.config.to_dict()))
    loaded = load_audio_encoder(tmp_path).encoder.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in published.encoder.state_dict().items())
    del state["model.encoder.layers.0.fc1.weight"]
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"layers\.0\.fc1\.weight"):
        load_audio_encoder(tmp_path)
