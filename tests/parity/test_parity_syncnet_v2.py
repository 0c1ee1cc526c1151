"""SyncNet v2's protocol: MFCC, embeddings, distances, offset and confidence are the published ones."""

import cv2
import numpy as np
import torch
from golden_folder import Golden, assert_close, fill, under_either_reading

from eval.syncnet_v2 import SyncNetV2, embed, mfcc, score_embeddings

KIND = "syncnet_v2"
MFCC_STEPS_PER_SECOND = 100  # the last one is lost: its window of 25 ms would reach beyond the sound
SIDE = 120  # of the pictures, before they are resized to 224


@under_either_reading
def test_sync_score_is_the_published_one(golden: Golden) -> None:
    arrays, formula = golden.arrays, golden.formula
    pictures = [formula.image(SIDE, SIDE, golden.input_salt * 100 + i) for i in range(golden.config["frames"])]
    frames = np.stack([cv2.resize(picture, (224, 224)) for picture in pictures])
    seconds = (arrays["mfcc"].shape[1] + 1) / MFCC_STEPS_PER_SECOND
    samples = (formula.wave(seconds, salt=golden.input_salt) * 32767).astype(np.int16)
    with torch.inference_mode():
        video, audio = embed(fill(SyncNetV2(), golden.weights), frames, samples)  # type: ignore[arg-type]
    score = score_embeddings(video, audio)
    assert len(video) == golden.config["windows"]
    assert_close(mfcc(samples).T, arrays["mfcc"], relative=1e-3, what="mfcc")
    assert_close(video[0], arrays["vision_embeds_0"], relative=1e-3, what="vision_embeds_0")
    assert_close(audio[0], arrays["audio_embeds_0"], relative=1e-3, what="audio_embeds_0")
    assert_close(score.distances, arrays["mean_dists"], relative=1e-3, what="mean_dists")
    assert_close(np.array(score.min_distance), arrays["min_dist"], relative=1e-3, what="min_dist")
    assert_close(np.array(score.confidence), arrays["confidence"], relative=1e-3, what="confidence")
    assert score.offset == int(arrays["av_offset"])
