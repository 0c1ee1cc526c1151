"""StableSyncNet's embeddings, their cosine and its loss are the published ones."""

import math

import torch
from golden_folder import Golden, assert_close, fill, under_either_reading

KIND = "stable_syncnet"
MEL_BINS = 80
PIXEL_CHANNELS, LATENT_CHANNELS = 3, 4


def total_factors(encoder: dict) -> tuple[int, int]:
    """By how much an encoder shrinks height and width; its input is as large as that."""
    pairs = [factor if isinstance(factor, list) else [factor, factor] for factor in encoder["downsample_factors"]]
    return math.prod(rows for rows, _ in pairs), math.prod(columns for _, columns in pairs)


@under_either_reading
def test_embeddings_and_loss_are_the_published_ones(golden: Golden) -> None:
    from latentsync.models.syncnet import StableSyncNet

    arrays, channels = golden.arrays, golden.config["visual_encoder"]["in_channels"]
    batch = len(arrays["vision_embeds"])
    num_frames = channels // (LATENT_CHANNELS if channels % PIXEL_CHANNELS else PIXEL_CHANNELS)
    height, width = total_factors(golden.config["visual_encoder"])
    frames = golden.tensor("syncnet.video", batch, channels, height, width)
    mel = 4 * golden.tensor("syncnet.mel", batch, 1, MEL_BINS, math.ceil(num_frames / 5 * 16))
    with torch.inference_mode():
        vision, audio = fill(StableSyncNet(**golden.config), golden.weights)(frames, mel)
    cosine = torch.nn.functional.cosine_similarity(vision, audio)
    assert_close(vision, arrays["vision_embeds"], absolute=1e-4, what="vision_embeds")
    assert_close(audio, arrays["audio_embeds"], absolute=1e-4, what="audio_embeds")
    assert_close(cosine, arrays["cosine"], absolute=1e-4, what="cosine")
    assert_close(-cosine.abs().log(), arrays["loss_positive"], relative=1e-4, absolute=1e-4, what="loss_positive")
