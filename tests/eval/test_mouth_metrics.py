"""Tracks, regions and seams have the values of their definitions."""

import cv2
import numpy as np
import pytest

from eval.metrics.correlation import correlation, delayed, partial_correlation
from eval.metrics.metric import FramePair, Heard, NotComputed
from eval.metrics.mouth_region import MouthRegion, edge_step, generated_region, sharpness
from eval.metrics.mouth_track import MouthTracks, compare
from eval.metrics.region_lpips import RegionLpips
from eval.metrics.untouched import Untouched, outside_blend, outside_mouth
from eval.mouth_tracks import MouthTrack, mouth_size, track_of, why_unusable
from latentsync.errors import UserError
from latentsync.face.alignment import FaceAligner
from latentsync.face.landmarks import Face
from latentsync.face.paste_back import paste_back
from latentsync.synthetic.clip import draw_clip

SIDE, FRAMES = 128, 64


def waves() -> np.ndarray:
    """Four tracks (4, F) of mean 0 and equal spread, none of which correlates with another."""
    times = 2 * np.pi * np.arange(FRAMES) / FRAMES
    return np.stack([np.sin(5 * times), np.cos(5 * times), np.sin(9 * times), np.cos(11 * times)])


def track(opening: np.ndarray) -> MouthTrack:
    return MouthTrack(0.1 + 0.02 * opening, 0.4 + 0.01 * opening, np.ones(len(opening), int))


def measured(metric: object, pairs: list[FramePair], heard: Heard | None = None) -> dict[str, float]:
    measurement = metric.begin()
    for one in pairs:
        measurement.add(one)
    return measurement.values(heard or Heard())


def pair(index: int, crop: np.ndarray, reference: np.ndarray | None, face: Face | None = None) -> FramePair:
    return FramePair(index, crop, crop, face, reference, reference)


def test_partial_correlation_is_that_of_its_formula() -> None:
    a, b, c, d = waves()
    assert correlation(3 * a + 4 * b, a) == pytest.approx(3 / 5)
    assert partial_correlation(3 * a + 4 * b, a, b) == pytest.approx(1)
    assert partial_correlation(a + b + c, a, b) == pytest.approx(2**-0.5)
    one, other, fixed = a + b + 0.5 * c, a - 0.3 * b + d, a + 2 * d
    r12, r13, r23 = correlation(one, other), correlation(one, fixed), correlation(other, fixed)
    expected = (r12 - r13 * r23) / np.sqrt((1 - r13**2) * (1 - r23**2))
    assert partial_correlation(one, other, fixed) == pytest.approx(expected)


def test_nothing_is_left_of_a_track_that_is_held_fixed_or_does_not_move() -> None:
    a, b, *_ = waves()
    assert partial_correlation(2 * a + 1, b, a) == 0
    assert correlation(np.full(9, 0.3), np.arange(9.0)) == 0
    with pytest.raises(ValueError, match="of one length"):
        correlation(a, b[:-1])


def test_a_mouth_follows_its_driver_at_the_lag_that_it_has() -> None:
    rng = np.random.default_rng(0)
    driving, source = rng.standard_normal((2, 80))
    for lag in (-2, 0, 1):
        late = np.nan_to_num(delayed(driving, lag))
        found = compare(track(late), track(driving), track(source), 2)
        assert found["track_lag"] == lag
        assert found["follows"] > 0.99
        assert found["follows_width"] > 0.99
        assert abs(found["leaks"]) < 0.3
        assert found["track_r"] > 0.99
    too_late = compare(track(np.nan_to_num(delayed(driving, 5))), track(driving), track(source), 2)
    assert too_late["follows"] < 0.5


def test_shared_rhythm_does_not_count_as_following() -> None:
    rhythm, own, other = np.random.default_rng(1).standard_normal((3, 80))
    driving, source = track(rhythm + 0.5 * other), track(rhythm + 0.5 * own)
    unchanged = compare(source, driving, source, 0)
    assert unchanged["track_r"] == pytest.approx(unchanged["rhythm_r"])
    assert unchanged["track_r"] > 0.6
    assert unchanged["follows"] == 0
    assert unchanged["leaks"] == pytest.approx(1)
    both = compare(track(rhythm + 0.25 * (own + other)), driving, source, 0)
    assert both["follows"] > 0.5
    assert both["leaks"] > 0.5


def test_own_speech_has_no_track_to_hold_fixed_and_few_landmarks_give_no_number() -> None:
    driving = track(waves()[0])
    assert compare(driving, driving, driving, 2) == {"track_r": pytest.approx(1), "track_lag": 0}
    assert compare(driving, driving, None, 2).keys() == {"track_r", "track_lag"}
    gaps = waves()[0].copy()
    gaps[20:] = np.nan
    with pytest.raises(NotComputed, match="landmarks in 20 frames only"):
        compare(track(gaps), driving, track(waves()[1]), 0)
    with pytest.raises(NotComputed, match="no landmark track"):
        measured(MouthTracks(), [])
    with pytest.raises(UserError, match="max_lag=-1"):
        MouthTracks(max_lag=-1)


def test_mouth_size_is_in_face_heights_and_tracks_keep_their_gaps() -> None:
    mesh = np.zeros((478, 2))
    mesh[152], mesh[13], mesh[14], mesh[78], mesh[308] = (0, 200), (0, 120), (0, 130), (-40, 125), (40, 125)
    assert mouth_size(mesh) == pytest.approx((0.05, 0.4))
    face = Face(np.zeros((3, 2)), (0, 0, 1, 1), mesh)
    blank = np.zeros((8, 8, 3), np.uint8)
    heard = Heard(driving_track=track(waves()[0]), source_track=track(waves()[1]))
    assert measured(MouthTracks(), [pair(n, blank, None, face) for n in range(40)], heard)["follows"] == 0
    seen = track_of([(0.1, 0.4), None] * 20, [1, 0] * 20)
    again = MouthTrack.from_plain(seen.plain())
    assert all(np.array_equal(getattr(again, n), getattr(seen, n), equal_nan=True) for n in ("opening", "width"))
    assert why_unusable(seen) == "no landmarks in 50 % of its frames"
    assert why_unusable(track(waves()[0])) is None


def test_only_the_generated_region_counts_in_its_psnr() -> None:
    true = draw_clip(100_001, 0.2, SIDE, 1).frames.astype(int).clip(10, 245)
    region = generated_region(SIDE)
    inside, outside = (np.where(part[None, ..., None], true + 5, true).astype(np.uint8) for part in (region, ~region))
    true = true.astype(np.uint8)
    found = measured(MouthRegion(), [pair(n, *frames) for n, frames in enumerate(zip(inside, true))])
    assert found["region_psnr"] == pytest.approx(20 * np.log10(255 / 5), abs=1e-3)
    assert measured(MouthRegion(), [pair(0, outside[0], true[0])])["region_psnr"] == 100


def test_sharpness_is_one_for_the_same_mouth_and_small_for_a_blurred_one() -> None:
    true = draw_clip(100_001, 0.2, SIDE, 1).frames
    blurred = [cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in true]
    same, soft = (
        measured(MouthRegion(), [pair(n, *f) for n, f in enumerate(zip(frames, true))]) for frames in (true, blurred)
    )
    assert same["sharpness"] == same["jitter"] == 1
    assert soft["sharpness"] < 0.3
    checks = np.indices((SIDE, SIDE)).sum(0) % 2 * 10
    assert sharpness(checks.astype(np.uint8)) == pytest.approx(40**2)  # ±40 everywhere


def test_a_pasted_seam_is_a_step_of_its_height_and_shading_or_texture_is_not() -> None:
    grey = np.full((SIDE, SIDE), 100, np.uint8)
    assert edge_step(grey) == 0
    seam = np.where(generated_region(SIDE), 120, 100).astype(np.uint8)
    assert edge_step(seam) == pytest.approx(20, abs=2)
    assert edge_step(cv2.GaussianBlur(seam, (0, 0), 4)) < 12
    texture = np.random.default_rng(0).normal(100, 10, (SIDE, SIDE))
    assert edge_step(texture) < 6
    colours = [np.repeat(picture[..., None], 3, -1) for picture in (seam, grey)]
    found = measured(MouthRegion(), [pair(0, *colours)])
    assert found["edge_step"] > found["edge_step_source"] + 15
    assert "jitter" not in found


def test_unrest_of_the_generated_region_is_told_against_the_sources() -> None:
    rng = np.random.default_rng(0)
    still = draw_clip(100_001, 0.4, SIDE, 1).frames
    noisy = [np.clip(frame + rng.normal(0, 12, frame.shape), 0, 255).astype(np.uint8) for frame in still]
    found = measured(MouthRegion(), [pair(n, *frames) for n, frames in enumerate(zip(noisy, still))])
    assert found["jitter"] > 3
    gaps = [pair(2 * n, *frames) for n, frames in enumerate(zip(noisy, still))]
    assert "jitter" not in measured(MouthRegion(), gaps)  # no three frames in a row
    with pytest.raises(NotComputed, match="no reference"):
        measured(MouthRegion(), [pair(0, still[0], None)])


def test_region_lpips_sees_nothing_outside_of_the_region(shared) -> None:
    weights = shared / "assets" / "weights" / "alexnet_features_fp16.pth"
    true = draw_clip(100_001, 0.12, SIDE, 1).frames
    region = generated_region(SIDE)[None, ..., None]
    for part, low, high in ((~region, 0, 1e-6), (region, 0.2, 2)):
        shown = np.where(part, 255 - true, true)
        found = measured(RegionLpips("alex", weights), [pair(n, *frames) for n, frames in enumerate(zip(shown, true))])
        assert low <= found["region_lpips_alex"] <= high
    with pytest.raises(UserError, match="net=resnet"):
        RegionLpips("resnet")


def test_pasting_a_face_changes_no_pixel_outside_the_blend() -> None:
    clip = draw_clip(100_000, 0.2, SIDE, 1, mode="scene")
    aligner, pairs = FaceAligner(SIDE), []
    for index, (frame, points) in enumerate(zip(clip.frames, clip.landmarks3)):
        face = aligner.align(frame, points)
        pasted = paste_back(frame, 255 - face.crop, face.matrix)
        outside = outside_blend(frame.shape, face.matrix, SIDE)
        assert 0.2 < outside.mean() < 0.95
        np.testing.assert_array_equal(pasted[outside], frame[outside])
        assert (pasted[~outside] != frame[~outside]).mean() > 0.5
        assert outside_mouth(frame.shape, face.matrix, SIDE).mean() > outside.mean()
        pairs.append(FramePair(index, pasted, face.crop, None, frame, face.crop, matrix=face.matrix))
    found = measured(Untouched(), pairs)
    assert found["psnr_outside_blend"] == 100
    assert found["psnr_outside_mouth"] < 30  # the face itself was inverted
    with pytest.raises(NotComputed, match="no reference"):
        measured(Untouched(), [pair(0, clip.frames[0], None)])
