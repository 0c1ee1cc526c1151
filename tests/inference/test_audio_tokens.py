"""Tokens made a few frames at a time are those of the whole recording."""

import numpy as np
import pytest
import torch

from latentsync.inference.audio_tokens import AudioTokens, gated
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
    tokens = AudioTokens(encoder, lambda: iter(np.array_split(wave, 7)), len(wave))
    parts = [tokens.frames(start, min(window, num_frames - start)) for start in range(0, num_frames, window)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-5)
    assert whole.shape == (num_frames, 20, 16)


def test_tokens_of_a_long_recording_stream_in_bounded_memory_and_equal_the_whole() -> None:
    encoder = AudioEncoder.from_config(
        d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=32
    ).eval()
    rng = np.random.default_rng(1)
    wave = (rng.normal(0, 0.1, 16000 * 95) * np.linspace(0.01, 1, 16000 * 95)).astype(np.float32)
    with torch.inference_mode():
        whole = encoder.frame_tokens(encoder.hidden_states(wave), 25 * 95)
    tokens = AudioTokens(encoder, lambda: (wave[at : at + 4000] for at in range(0, len(wave), 4000)), len(wave))
    for start in (0, 620, 655, 1310, 1300, 2359):  # pieces of 30 s hand over at 28 s, 54 s and 80 s
        torch.testing.assert_close(tokens.frames(start, 16), whole[start : start + 16], rtol=0, atol=1e-4)
    beyond = tokens.frames(2400, 4)  # after the sound has ended: its last moment
    torch.testing.assert_close(beyond, tokens.frames(2399, 1).expand(4, -1, -1), rtol=0, atol=0)
    with pytest.raises(ValueError, match="left behind"):
        tokens.frames(0, 16)


def test_the_gate_silences_what_is_quiet_and_keeps_what_is_near_something_loud() -> None:
    rate = 16000
    wave = np.random.default_rng(2).normal(0, 0.001, 2 * rate + 77).astype(np.float32)  # −60 dBFS
    wave[rate : rate + 1600] += np.sin(np.arange(1600) / 5).astype(np.float32)
    out = np.concatenate(list(gated(iter(np.array_split(wave, 13)), -45)))
    assert out.shape == wave.shape
    heard = np.flatnonzero(out)
    assert heard[0] >= rate - 1920
    assert heard[-1] <= rate + 1600 + 1920
    np.testing.assert_array_equal(out[rate - 1280 : rate + 2880], wave[rate - 1280 : rate + 2880])
    np.testing.assert_array_equal(np.concatenate(list(gated(iter([wave]), -80))), wave)
