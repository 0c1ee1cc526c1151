"""The audio encoder: no seam in long audio, tokens in the published order, and files that load again."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, WhisperConfig, WhisperForConditionalGeneration, WhisperModel

from latentsync.errors import UserError
from latentsync.models.audio_encoder import AudioEncoder, frame_tokens

RATE, STEPS = 16000, 50  # samples and hidden vectors a second


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    """Two layers of 16 values, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = AudioEncoder.from_config(d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32)
    return made.eval()


@pytest.fixture(scope="module")
def noise() -> Tensor:
    """40 s of white noise."""
    return 0.1 * torch.randn(40 * RATE, generator=torch.Generator().manual_seed(0))


def hearing_only_nearby(overlap: float) -> AudioEncoder:
    """An encoder without positions and attention: a step then depends on the sound around it alone, so it must be the
    same wherever in its piece it falls."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = AudioEncoder.from_config(overlap, d_model=16, encoder_layers=2, encoder_attention_heads=2)
    with torch.no_grad():
        made.encoder.embed_positions.weight.zero_()
        for layer in made.encoder.layers:
            layer.self_attn.out_proj.weight.zero_()
    return made.eval()


@torch.inference_mode()
def test_overlap_removes_the_seam(noise: Tensor) -> None:
    # The same sound from 10 s on: in one piece, and no end of a piece within 20 s … 38 s of the whole.
    shifted = hearing_only_nearby(0).hidden_states(noise[10 * RATE :])
    errors = {}
    for overlap in (0, 0.1, 4):
        whole = hearing_only_nearby(overlap).hidden_states(noise)
        errors[overlap] = (whole[20 * STEPS : 38 * STEPS] - shifted[10 * STEPS : 28 * STEPS]).abs().amax(dim=(1, 2))
    seam = 10 * STEPS  # 30 s, counted from 20 s
    assert errors[0][seam - 1 : seam + 1].max() > 0.01
    errors[0][seam - 1 : seam + 1] = 0
    for overlap, error in errors.items():
        assert error.max() < 1e-3, f"overlap {overlap} s: {error.max():.3g} at {20 + int(error.argmax()) / STEPS:.2f} s"


@torch.inference_mode()
def test_pieces_hand_over_in_the_middle_of_their_overlap(encoder: AudioEncoder, noise: Tensor) -> None:
    mel = encoder.log_mel(noise[None])
    first, second = encoder.encode(mel[..., :3000])[0], encoder.encode(mel[..., 2600:])[0]  # 0–30 s and 26–40 s
    expected = torch.cat([first[: 28 * STEPS], second[2 * STEPS : 14 * STEPS]])
    torch.testing.assert_close(encoder.hidden_states(noise), expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_pieces_in_a_batch_equal_pieces_one_by_one(noise: Tensor, encoder: AudioEncoder) -> None:
    wave = noise.repeat(2)[: 70 * RATE + 100]  # three pieces, the last one short
    single = AudioEncoder(encoder.encoder, pieces_per_batch=1)
    together = AudioEncoder(encoder.encoder, pieces_per_batch=4)
    hidden = together.hidden_states(wave)
    assert hidden.shape == (70 * STEPS, 3, 16)
    torch.testing.assert_close(single.hidden_states(wave), hidden, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_arrays_and_tensors_sound_the_same(encoder: AudioEncoder, noise: Tensor) -> None:
    wave = noise[:RATE]
    assert torch.equal(encoder.hidden_states(wave.numpy()), encoder.hidden_states(wave))


@pytest.mark.parametrize("num_samples", [320, 321, 640, 16000 + 319])
@torch.inference_mode()
def test_one_vector_for_each_whole_step(num_samples: int, encoder: AudioEncoder, noise: Tensor) -> None:
    assert encoder.hidden_states(noise[:num_samples]).shape == (num_samples // 320, 3, 16)


def test_saved_encoder_loads_again(encoder: AudioEncoder, noise: Tensor, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    loaded = AudioEncoder.from_pretrained(tmp_path, piece_overlap_seconds=2)
    assert (loaded.hidden_size, loaded.num_layers, loaded.piece_overlap_seconds) == (16, 3, 2)
    with torch.inference_mode():
        assert torch.equal(loaded.hidden_states(noise[:RATE]), encoder.hidden_states(noise[:RATE]))


@pytest.mark.parametrize("whole", [WhisperModel, WhisperForConditionalGeneration])
def test_encoder_of_a_whole_whisper_is_the_one_in_the_file(whole: type[PreTrainedModel], tmp_path: Path) -> None:
    config = WhisperConfig(
        d_model=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=32, decoder_layers=1,
        decoder_attention_heads=2, decoder_ffn_dim=32, vocab_size=9, pad_token_id=0, decoder_start_token_id=1,
    )  # fmt: skip
    network = whole(config)
    network.save_pretrained(tmp_path)
    loaded = AudioEncoder.from_pretrained(tmp_path).encoder.state_dict()
    expected = network.get_encoder().state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)


def test_weights_that_lack_a_key_are_refused(encoder: AudioEncoder, tmp_path: Path) -> None:
    encoder.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["layers.1.fc1.weight"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"1 missing \(layers\.1\.fc1\.weight\)"):
        AudioEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("wave", [np.zeros(319, np.float32), np.zeros(0, np.float32)])
def test_too_short_audio_is_refused(wave: np.ndarray, encoder: AudioEncoder) -> None:
    with pytest.raises(UserError, match="too short"):
        encoder.hidden_states(wave)


def test_wave_of_several_channels_is_refused(encoder: AudioEncoder) -> None:
    with pytest.raises(ValueError, match=r"\(N,\), not \(2, 16000\)"):
        encoder.hidden_states(np.zeros((2, RATE), np.float32))


def test_missing_folder_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.* fetch whisper-tiny"):
        AudioEncoder.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("overlap", [-1, 15, 30])
def test_impossible_overlap_is_refused(overlap: float, encoder: AudioEncoder) -> None:
    with pytest.raises(UserError, match=f"piece_overlap_seconds={overlap}"):
        AudioEncoder(encoder.encoder, overlap)


def tokens_read_literally(hidden: Tensor, num_frames: int) -> Tensor:
    """Frame i takes steps 2i−4 … 2i+5, indices clamped to the audio, each with its layers side by side."""
    frames = []
    for i in range(num_frames):
        tokens = []
        for step in range(2 * i - 4, 2 * i + 6):
            for layer in range(hidden.shape[1]):
                tokens.append(hidden[min(max(step, 0), hidden.shape[0] - 1), layer])
        frames.append(torch.stack(tokens))
    return torch.stack(frames)


@pytest.mark.parametrize(("num_steps", "num_frames"), [(1, 2), (9, 4), (40, 20), (41, 25)])
def test_tokens_are_the_published_windows(num_steps: int, num_frames: int) -> None:
    hidden = torch.randn((num_steps, 5, 3), generator=torch.Generator().manual_seed(0))
    tokens = frame_tokens(hidden, num_frames)
    assert tokens.shape == (num_frames, 50, 3)
    assert torch.equal(tokens, tokens_read_literally(hidden, num_frames))


def test_tokens_at_other_rates_follow_the_time() -> None:
    step = torch.arange(100.0)[:, None, None]  # each vector is its number
    assert torch.equal(frame_tokens(step, 20, fps=12.5), frame_tokens(step, 39)[::2])
    assert frame_tokens(step, 30, fps=30)[15, 4, 0] == 25  # half a second


def test_log_mel_is_that_of_transformers(encoder: AudioEncoder, noise: Tensor) -> None:
    from transformers import WhisperFeatureExtractor

    speech_like = noise[: 3 * RATE] * torch.linspace(1, 0, 3 * RATE)
    expected = WhisperFeatureExtractor()(speech_like.numpy(), sampling_rate=RATE, padding=False, return_tensors="pt")
    torch.testing.assert_close(encoder.log_mel(speech_like[None]), expected.input_features, atol=1e-4, rtol=1e-4)
