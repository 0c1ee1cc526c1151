"""What the networks hear: SyncNet's mel, Whisper's hidden layers and the tokens of each frame."""

import numpy as np
import torch
from golden_folder import Golden, assert_close, fill, under_either_reading

from latentsync.models.audio_encoder import AudioEncoder
from latentsync.weights.whisper import OpenAIWhisper

KIND = "audio_tokens"


def published_encoder(golden: Golden) -> AudioEncoder:
    """Whisper of the manifest's dims and weights; the sinusoidal positions are not listed there."""
    checkpoint = {"dims": golden.config["dims"], "model_state_dict": golden.weights}
    adapter = OpenAIWhisper()
    encoder = fill(
        adapter.network(adapter.config(checkpoint)),
        adapter.from_published(checkpoint),
        may_lack="embed_positions.weight",
    )
    return AudioEncoder(encoder, piece_overlap_seconds=0)  # type: ignore[arg-type]


@under_either_reading
def test_hidden_layers_and_tokens_are_the_published_ones(golden: Golden) -> None:
    config, arrays = golden.config, golden.arrays
    encoder = published_encoder(golden)
    wave = golden.formula.wave(config["seconds"], salt=golden.input_salt)
    with torch.inference_mode():
        hidden = encoder.hidden_states(wave)
        # The published chunker goes on for up to 2 frames after the audio; the clamped windows are the same.
        tokens = encoder.frame_tokens(hidden, config["num_chunks"], config["fps"])
    assert list(hidden.shape) == config["feature_shape"]
    assert_close(hidden[:8], arrays["features_head"], absolute=2e-3, what="features_head")
    assert_close(hidden[-8:], arrays["features_tail"], absolute=2e-3, what="features_tail")
    assert_close(hidden[1495:1505], arrays["features_1495_1505"], absolute=2e-3, what="features at the seam")
    assert_close(tokens[np.array(config["frames_listed"])], arrays["tokens"], absolute=2e-3, what="tokens")
