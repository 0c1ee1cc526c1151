"""Claims about scoring lip sync by pixels."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from eval.lip_sync import check_settings, draw_pairs, evaluate, measure
from eval.lip_sync_report import Settings, goals_met, means, table, write_results
from eval.mouth_scores import align_frames, correlation, outside_blend, outside_mouth, psnr, score_mouth
from latentsync.errors import UserError
from latentsync.face.paste_back import paste_back
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES

RESOLUTION = 128
SETTINGS = Settings("tiny", 1, 0.8, 2, 1.0, 1)


@pytest.fixture(scope="module")
def pairs():
    return draw_pairs(num_identities=3, seconds=3.2, resolution=RESOLUTION, seed=1)


def aligned(clip):
    return align_frames(clip.frames, clip.landmarks3, RESOLUTION)


def test_nobody_is_met_twice_and_everybody_is_held_out(pairs):
    people = [clip.person.seed for pair in pairs for clip in (pair.source, pair.driving)]
    assert len(set(people)) == 6
    assert set(people) <= set(HELD_OUT_IDENTITIES)


def test_true_frames_follow_their_speech_and_swapped_ones_do_not(pairs):
    true, swapped = [], []
    for pair in pairs:
        track, own = pair.driving.articulation, pair.source.articulation
        truths = (track.opening, own.opening, track.pause)
        true.append(score_mouth(aligned(pair.driving), *truths))
        swapped.append(score_mouth(aligned(pair.source), *truths))
    print("true", true, "swapped", swapped)
    assert min(score.driving for score in true) >= 0.95
    assert min(score.source for score in swapped) >= 0.95
    assert abs(np.mean([score.driving for score in swapped])) < 0.4
    assert max(score.leak for score in true if score.leak is not None) < 0.35


def test_a_mouth_that_does_not_move_follows_nothing():
    assert correlation(np.full(9, 0.3), np.arange(9.0)) == 0.0


def test_equal_frames_have_infinite_psnr_and_a_known_error_a_known_one():
    frames = [np.full((6, 8, 3), 100, np.uint8)] * 2
    everywhere = [np.ones((6, 8), bool)] * 2
    assert psnr(frames, frames, everywhere) == float("inf")
    assert psnr(frames, [frame + 5 for frame in frames], everywhere) == pytest.approx(20 * np.log10(255 / 5))


def test_pasting_a_face_changes_no_pixel_outside_the_blend(pairs):
    clip = pairs[0].source
    for frame, face in zip(clip.frames[:5], aligned(clip)):
        pasted = paste_back(frame, 255 - face.crop, face.matrix)
        outside = outside_blend(frame.shape, face.matrix, RESOLUTION)
        assert 0.2 < outside.mean() < 0.95
        np.testing.assert_array_equal(pasted[outside], frame[outside])
        assert (pasted[~outside] != frame[~outside]).mean() > 0.5
        assert outside_mouth(frame.shape, face.matrix, RESOLUTION).mean() > outside.mean()


def test_measuring_true_frames_meets_the_goals_that_swapping_misses(pairs):
    source = list(pairs[0].source.frames)
    row = measure(pairs[0], source, list(pairs[0].driving.frames), source, RESOLUTION)
    assert row.generated == row.unchanged
    assert row.truth.driving >= 0.95
    assert row.psnr_outside_blend == row.psnr_outside_mouth == float("inf")
    assert goals_met([row]) == {"driving": False, "source": False, "psnr_outside_blend": True}


@pytest.fixture(scope="module")
def pipeline():
    from latentsync.face.landmarks import GivenFaces
    from latentsync.inference.pipeline import LipSyncPipeline
    from tests.inference.conftest import RESOLUTION as SMALL
    from tests.inference.conftest import make_networks

    return LipSyncPipeline(**make_networks(), face_finder=GivenFaces([]), resolution=SMALL)


def test_an_evaluation_leaves_videos_and_results_and_nothing_else(pipeline, tmp_path):
    torch.manual_seed(0)
    rows = evaluate(pipeline, SETTINGS, tmp_path, progress=False)
    write_results(rows, SETTINGS, tmp_path)
    person = rows[0].identity
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "results.json", "results.md", f"{person}_input.mp4", f"{person}_generated.mp4", f"{person}_truth.mp4",
        f"{person}_speech.wav",
    }  # fmt: skip
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["mean"] == means(rows)
    assert stored["mean"]["psnr_outside_blend"] > 35
    assert stored["settings"]["seed"] == 1
    assert "torch" in stored["versions"]
    assert (tmp_path / "results.md").read_text() == table(rows, SETTINGS) + "\n"


def test_equal_seeds_give_equal_scores(pipeline, tmp_path):
    first, second = (evaluate(pipeline, SETTINGS, tmp_path / name, progress=False) for name in ("a", "b"))
    assert first[0].generated == second[0].generated


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_identities": 0}, "num_identities=0: give 1 to 5000"),
        ({"seconds": 0.0}, "seconds=0.0"),
        ({"seed": 0}, "seed=0"),
        ({"guidance_scale": 11}, "guidance_scale=11"),
        ({"num_inference_steps": 0}, "num_inference_steps=0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        check_settings(replace(SETTINGS, **settings))


def test_unknown_weights_get_one_line_exit_code_2_and_leave_nothing(tmp_path, pytestconfig):
    command = [sys.executable, "-m", "eval.lip_sync", "weights=demmo", f"output={tmp_path / 'out'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=pytestconfig.rootpath, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: weights 'demmo': not known, and no such folder or file; did you mean 'demo'?\n"
    assert not (tmp_path / "out").exists()
