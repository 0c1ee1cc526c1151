"""Tokens made a few frames at a time are those of the whole recording."""

import numpy as np
import pytest
import torch

from latentsync.inference.audio_tokens import AudioTokens
from latentsync.models.audio_encoder import AudioEncoder


@pytest.mark.parametrize("window", [1, 3, 16])
def test_tokens_of_windows_are_those_of_the_whole_recording(window: int) -> None:
    encoder = AudioEncoder.from_config(
        d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32
    ).eval()
    wave = np.random.default_rng(0).normal(0, 0.1, 16000 * 2 + 700).astype(np.float32)
    num_frames = 51
    with torch.inference_mode():
        whole = encoder.frame_tokens(encoder.hidden_states(wave), num_frames)
    tokens = AudioTokens(encoder, wave)
    parts = [tokens.frames(start, min(window, num_frames - start)) for start in range(0, num_frames, window)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)
    assert whole.shape == (num_frames, 20, 16)
