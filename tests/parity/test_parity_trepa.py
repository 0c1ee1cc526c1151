"""The TREPA loss and the video features it compares are the published ones."""

from typing import Any

import torch
from golden_folder import Golden, assert_close, fill, under_either_reading
from loss_inputs import pixels

from latentsync.weights.videomae import VideoMAEAdapter

KIND = "trepa"
SIDE = 64  # of the small frames, which the encoder's input size is resized from


@under_either_reading
def test_loss_and_features_are_the_published_ones(golden: Golden) -> None:
    from latentsync.losses.trepa import TrepaLoss

    arrays, adapter = golden.arrays, VideoMAEAdapter()
    encoder: Any = fill(adapter.network(golden.config), adapter.from_published(golden.weights))
    shape = (len(arrays["features_real"]), 3, golden.config["all_frames"], SIDE, SIDE)
    fake = 1.2 * golden.tensor("trepa.fake", *shape).transpose(1, 2)  # (B, F, 3, H, W)
    real = golden.tensor("trepa.real", *shape).transpose(1, 2)
    with torch.inference_mode():
        features, loss = encoder(real / 2 + 0.5), TrepaLoss(encoder)(pixels(fake, real))
    assert_close(features, arrays["features_real"], relative=1e-3, what="features_real")
    assert_close(loss, arrays["loss"], relative=1e-3, what="loss")
