"""Claims about synthetic talking heads."""

import json
import time

import cv2
import numpy as np
import pytest

from latentsync.face.alignment import FaceAligner
from latentsync.face.mouth_mask import mouth_mask
from latentsync.media.rates import FPS
from latentsync.synthetic.articulation import draw_articulation
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, TRAIN_IDENTITIES, draw_clip, draw_person
from latentsync.synthetic.face import render_aligned, scene_size
from latentsync.synthetic.mouth import measure_mouth_opening


def crop_points(resolution: int) -> np.ndarray:
    """The published template in pixels of the square crop (3, 2)."""
    template = np.array([(17, 20), (58, 20), (37.5, 40)]) * 2.8 * resolution / 256
    stretch = np.array([256 / 210, 256 / 280])
    return (template + 0.5) * stretch - 0.5


@pytest.fixture(scope="module")
def clip():
    return draw_clip(7, 2.0, 128, seed=3)


def test_pictures_sound_and_truth_are_of_one_length(clip):
    assert clip.frames.shape == (50, 128, 128, 3)
    assert clip.frames.dtype == np.uint8
    assert len(clip.wave) / clip.sample_rate == 50 / clip.fps
    assert clip.landmarks3.shape == (50, 3, 2)
    assert clip.mouth_box.shape == (50, 4)
    assert len(clip.articulation.opening) == 50


def test_same_seeds_same_bytes(clip):
    again = draw_clip(7, 2.0, 128, seed=3)
    assert again.frames.tobytes() == clip.frames.tobytes()
    assert again.wave.tobytes() == clip.wave.tobytes()
    assert again.truth() == clip.truth()


def test_other_seeds_other_clips(clip):
    other_words = draw_clip(7, 2.0, 128, seed=4)
    other_person = draw_clip(8, 2.0, 128, seed=3)
    assert not np.array_equal(other_words.articulation.opening, clip.articulation.opening)
    assert not np.array_equal(other_person.articulation.opening, clip.articulation.opening)
    assert np.abs(other_person.frames.astype(int) - clip.frames).mean() > 8
    assert other_words.person == clip.person


def test_people_differ_from_each_other():
    stills = np.stack([draw_clip(seed, 0.04, 64, 0).frames[0] for seed in range(12)]).astype(float)
    distances = np.abs(stills[:, None] - stills[None]).mean(axis=(2, 3, 4))
    assert distances[~np.eye(12, dtype=bool)].min() > 6
    assert len({draw_person(seed).look.hair_style for seed in range(60)}) == 5


def test_held_out_people_are_not_trained_on():
    assert not set(TRAIN_IDENTITIES) & set(HELD_OUT_IDENTITIES)


def test_truth_survives_json(clip):
    truth = json.loads(json.dumps(clip.truth()))
    np.testing.assert_allclose(truth["opening"], clip.articulation.opening, atol=1e-4)
    assert truth["identity_seed"] == 7
    assert truth["seed"] == 3
    for name in ("opening", "width", "rounding", "closure", "voiced", "pause", "landmarks3", "mouth_box"):
        assert len(truth[name]) == 50


def test_the_points_sit_on_the_alignment_template(clip):
    still = draw_clip(7, 1.0, 128, seed=3, jitter=0.0)
    np.testing.assert_allclose(still.landmarks3, np.broadcast_to(crop_points(128), (25, 3, 2)), atol=1e-6)
    assert 0.2 < np.abs(clip.landmarks3 - crop_points(128)).max() < 2.0


def test_nothing_outside_the_mask_shows_what_the_mouth_does():
    """The same head and motion with two speeches: every pixel that the mask keeps whole is the same."""
    kept = mouth_mask(128)[0].numpy() >= 0.999
    for identity in range(10):
        look = draw_person(identity).look
        speeches = [draw_articulation(40, np.random.default_rng(seed)) for seed in (1, 2)]
        first, second = (render_aligned(look, s, 128, np.random.default_rng(5)).frames.astype(int) for s in speeches)
        assert np.abs(first - second)[:, kept].max() == 0
        assert np.abs(first - second)[:, ~kept].max() > 60


def test_the_mouth_box_follows_the_lips():
    clip = draw_clip(11, 4.0, 128, seed=1)
    heights = clip.mouth_box[:, 3] - clip.mouth_box[:, 1]
    assert np.corrcoef(heights, clip.articulation.opening)[0, 1] > 0.97
    for frame, (left, top, right, bottom) in zip(clip.frames, clip.mouth_box):
        # What is much redder than the skin is lips; some of it touches every side of the box, none lies far outside.
        redness = frame[75:125, 15:113, 0].astype(float) / (frame[75:125, 15:113, 1:].mean(axis=-1) + 1)
        rows, columns = np.nonzero(redness > 1.25 * np.median(redness))
        box = np.array([columns.min() + 15, rows.min() + 75, columns.max() + 15, rows.max() + 75])
        assert np.abs(box - [left, top, right, bottom]).max() < 4


@pytest.mark.parametrize("identity", [2, 5, 100_003])
def test_aligning_the_scene_gives_the_aligned_crop_back(identity):
    scene = draw_clip(identity, 1.0, 128, seed=6, mode="scene")
    crop = draw_clip(identity, 1.0, 128, seed=6, jitter=0.0)
    assert scene.frames.shape[1:3] == scene_size(128)[::-1]
    np.testing.assert_array_equal(scene.wave, crop.wave)
    aligner = FaceAligner(128)
    aligned = np.stack([aligner.align(f, p).crop for f, p in zip(scene.frames, scene.landmarks3)])
    # The published alignment rounds the points and adds a shift of about a pixel: compare what that leaves alone.
    errors = [
        np.abs(cv2.GaussianBlur(a, (0, 0), 2).astype(int) - cv2.GaussianBlur(b, (0, 0), 2)).mean()
        for a, b in zip(aligned, crop.frames)
    ]
    print("mean error in levels", np.mean(errors))
    assert np.mean(errors) < 2
    measured = measure_mouth_opening(aligned)
    assert np.corrcoef(measured, scene.articulation.opening)[0, 1] > 0.97


def test_blinks_happen_and_do_not_follow_the_mouth():
    clip = draw_clip(20, 20.0, 128, seed=2)
    white = (
        clip.frames[:, 32:44, 24:47].min(axis=-1).astype(float).max(axis=(1, 2))
    )  # brightest grey about the left eye
    shut = white < 0.75 * np.median(white)
    assert 3 <= np.count_nonzero(shut[1:] & ~shut[:-1]) <= 15
    assert abs(np.corrcoef(white, clip.articulation.opening)[0, 1]) < 0.25


def test_at_least_200_frames_a_second_at_128():
    draw_clip(0, 0.2, 128, 0)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        start = time.process_time()
        draw_clip(1, 5.0, 128, 0)
        speed = 5.0 * FPS / (time.process_time() - start)
    finally:
        cv2.setNumThreads(threads)
    print(f"{speed:.0f} frames/s, pictures and sound, one core")
    assert speed > 200


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="aligned"):
        draw_clip(0, 1.0, 64, 0, mode="sideways")
