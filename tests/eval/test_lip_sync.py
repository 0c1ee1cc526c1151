"""Claims about measuring lip sync: drawn people through files, real clips by landmarks, bad clips by name."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from eval.generation import generate
from eval.lip_sync import DRAWN_METRICS, Plan, check_drawn, check_seeds, measure, write_sheet
from eval.lip_sync_pairs import CROSS, RECONSTRUCTION, ClipFolder, clip_pairs, drawn_pairs
from eval.lip_sync_report import Outcome, Row, by_kind, by_seed, goals_met, table, write_results
from eval.mouth_tracks import stored_track
from latentsync.errors import UserError
from latentsync.face.landmarks import Face, GivenFaces
from latentsync.media.frames import read_frames_at
from latentsync.media.video_writer import VideoWriter
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES

RESOLUTION = 128
FAST = {"num_inference_steps": 2, "guidance_scale": 1.0}
DRAWN = Plan([1], {name: {} for name in DRAWN_METRICS}, "json", FAST, [CROSS], {"weights": "tiny"})


class StandIn:
    """In a pipeline's place: the output's frames are what `make` says of (frames of the input, of the speech's)."""

    resolution = RESOLUTION

    def __init__(self, make: Callable[[list[np.ndarray], list[np.ndarray], int], list[np.ndarray]]) -> None:
        self.make, self.face_finder = make, GivenFaces([])

    def __call__(self, video: Path, speech: Path, target: Path, seed: int, **_: object) -> None:
        shown, heard = ([frame.image for frame in read_frames_at(path)] for path in (video, speech))
        write(target, self.make(shown, heard, seed))


def write(target: Path, frames: list[np.ndarray], wave: np.ndarray | None = None) -> None:
    height, width = frames[0].shape[:2]
    with VideoWriter(target, width, height, 25, audio=None if wave is None else (wave, 16000)) as writer:
        for frame in frames:
            writer.write(frame)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    pairs = drawn_pairs(folder / "sources", num_people=3, seconds=3.2, resolution=RESOLUTION, seed=1)
    return pairs, measure(StandIn(lambda shown, heard, seed: shown), pairs, DRAWN, folder), folder


def test_nobody_is_met_twice_and_everybody_is_held_out(drawn):
    people = [int(who) for pair in drawn[0].by_protocol[CROSS] for who in (pair.name, pair.driver)]
    assert len(set(people)) == 6
    assert set(people) <= set(HELD_OUT_IDENTITIES)


def test_true_frames_follow_their_speech_and_swapped_ones_do_not(drawn):
    found = by_kind(drawn[1])
    assert found["cross: true frames"]["mouth_r"].low >= 0.95
    assert found["cross: true frames"]["mouth_leak"].high < 35
    for kind in ("cross: input unchanged", "cross"):
        assert found[kind]["own_mouth_r"].low >= 0.95
        assert abs(found[kind]["mouth_r"].mean) < 0.4
    assert found["cross"]["psnr_outside_blend"].low > 45
    assert found["cross"]["sharpness"].mean == pytest.approx(1, abs=0.1)


def test_goals_are_met_by_what_is_measured_alone(drawn):
    assert goals_met(drawn[1]) == {"mouth_r": False, "own_mouth_r": False, "psnr_outside_blend": True}
    assert goals_met(Outcome([], {})) == {}


@pytest.fixture(scope="module")
def pipeline():
    from latentsync.inference.pipeline import LipSyncPipeline
    from tests.inference.conftest import RESOLUTION as SMALL
    from tests.inference.conftest import make_networks

    return LipSyncPipeline(**make_networks(), face_finder=GivenFaces([]), resolution=SMALL)


def test_a_measurement_leaves_videos_and_results_and_nothing_else(pipeline, tmp_path):
    pairs = drawn_pairs(tmp_path / "sources", 1, 0.8, pipeline.resolution, 1)
    outcomes = [measure(pipeline, pairs, DRAWN, tmp_path, progress=False) for _ in range(2)]
    mouths = [by_kind(outcome)["cross"]["mouth_r"].mean for outcome in outcomes]
    assert mouths[0] == pytest.approx(mouths[1], abs=0.01)  # equal seeds; the encoder is not exact at this size
    write_results(outcomes[0], DRAWN.told, tmp_path)
    assert write_sheet(pairs, DRAWN, pipeline.resolution, tmp_path).is_file()
    (pair,) = pairs.by_protocol[CROSS]
    videos = {f"clips/cross/{part}/{pair.name}.mp4" for part in ("unchanged", "true", "seed_1")}
    videos |= {f"sources/{name}.mp4" for name in (pair.name, pair.driver)}
    beside = {video.replace(".mp4", ".json") for video in videos}
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == videos | beside | {"results.json", "results.md", "mouths.png"}
    stored = json.loads((tmp_path / "results.json").read_text())
    assert stored["mean"]["cross"]["psnr_outside_blend"]["mean"] > 35
    assert stored["settings"] == {"weights": "tiny"}
    assert "torch" in stored["versions"]
    assert (tmp_path / "results.md").read_text() == table(outcomes[0], DRAWN.told) + "\n"


def test_means_are_over_clips_and_each_seed_has_a_line(drawn):
    rows = [Row(CROSS, name, "x", seed, {"follows": value}) for name, seed, value in (
        ("a", 1, 0.2), ("a", 2, 0.4), ("b", 1, 0.7), ("b", 2, 0.9))]  # fmt: skip
    outcome = Outcome(rows, {}, left_out={"c": "no sound"})
    (summary,) = by_kind(outcome)[CROSS].values()
    assert (summary.mean, summary.low, summary.high, summary.count) == pytest.approx((0.55, 0.3, 0.8, 2))
    assert by_seed(outcome)["cross, seed 2"]["follows"].mean == pytest.approx(0.65)
    assert "Left out, 1: c (no sound)" in table(outcome, {})


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (lambda: check_drawn(0, 3.2), "num_identities=0: give 1 to 5000"),
        (lambda: check_drawn(1, 0.0), "seconds=0.0"),
        (lambda: check_seeds([1, 0], 1.0, 20), "seed=0"),
        (lambda: check_seeds([], 1.0, 20), r"seeds=\[\]"),
        (lambda: check_seeds([1], 11, 20), "guidance_scale=11"),
        (lambda: check_seeds([1], 1.0, 0), "num_inference_steps=0"),
    ],
)
def test_settings_out_of_range_are_refused(check, message):
    with pytest.raises(UserError, match=message):
        check()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("weights=demmo", "weights 'demmo': not known, and no such folder or file; did you mean 'demo'?"),
        ("sounds=x", "sounds=DIR needs clips=DIR: the videos that shall speak"),
    ],
)
def test_mistakes_get_one_line_exit_code_2_and_leave_nothing(tmp_path, pytestconfig, argument, message):
    command = [sys.executable, "-m", "eval.lip_sync", argument, f"output={tmp_path / 'out'}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=pytestconfig.rootpath, check=False)
    assert done.returncode == 2
    assert done.stderr == f"error: {message}\n"
    assert not (tmp_path / "out").exists()


class CodedFinder:
    """A frame's red channel says how many faces it shows (40 each), its green one how wide their mouths are open."""

    def find(self, frame: np.ndarray, time: float) -> list[Face]:
        red, green = frame[..., 0].mean(), frame[..., 1].mean()
        mesh = np.zeros((478, 2))
        mesh[152], mesh[14], mesh[308] = (0, 100), (0, green / 8), (30, 0)
        return [Face(np.zeros((3, 2)), (0, 0, 40, 60), mesh)] * round(red / 40)

    def reset(self) -> None:
        pass


def coded(target: Path, faces: list[int], loudness: float = 0.3) -> None:
    rng = np.random.default_rng(len(target.stem) + ord(target.stem[0]))
    frames = [np.full((64, 64, 3), (40 * n, 100 + rng.integers(100), 90), np.uint8) for n in faces]
    write(target, frames, (loudness * np.sin(np.arange(len(faces) * 640) / 9)).astype(np.float32))


def test_clips_that_cannot_be_measured_are_named_and_left_out(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("good", "fine", "okay"):
        coded(folder / f"{name}.mp4", [1] * 48 + [0] * 2)
    coded(folder / "hidden.mp4", [1] * 30 + [0] * 20)
    coded(folder / "crowd.mp4", [1] * 30 + [2] * 20)
    coded(folder / "still.mp4", [1] * 50, loudness=0.0)
    coded(folder / "brief.mp4", [1] * 10)
    (folder / "broken.mp4").write_text("no video")
    clips = ClipFolder(folder, None, CodedFinder(), tmp_path / "tracks")
    pairs = clip_pairs(clips, None, None, seed=1)
    assert {pair.name for pair in pairs.by_protocol[CROSS]} == {"good", "fine", "okay"}
    assert all(pair.name != pair.driver for pair in pairs.by_protocol[CROSS])
    assert sorted(pair.driver for pair in pairs.by_protocol[CROSS]) == ["fine", "good", "okay"]
    assert [(pair.name, pair.driver) for pair in pairs.by_protocol[RECONSTRUCTION]] == [
        (name, name) for name in ("fine", "good", "okay")
    ]
    reasons = dict(pairs.left_out)
    assert reasons.pop("broken").startswith("input ")
    assert reasons == {
        "hidden": "no landmarks in 40 % of its frames",
        "crowd": "more than one person in 40 % of its frames",
        "still": "its sound is silent",
        "brief": "10 frames are too few, 25 are needed",
    }
    with pytest.raises(UserError, match="has no gone; give names"):
        ClipFolder(folder, ["good", "gone"], CodedFinder(), tmp_path)
    alone = ClipFolder(folder, ["good", "still"], CodedFinder(), tmp_path / "tracks")
    with pytest.raises(UserError, match=r"1 of them can be measured.*'still': its sound is silent"):
        clip_pairs(alone, None, None, seed=1)


def test_sounds_of_another_folder_drive_in_turn_and_tracks_are_measured_once(tmp_path):
    for name in ("shown/a", "shown/b", "shown/c", "heard/d", "heard/e"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        coded(tmp_path / f"{name}.mp4", [1] * 30, loudness=0.0 if name == "shown/b" else 0.3)
    shown, heard = (ClipFolder(tmp_path / n, None, CodedFinder(), tmp_path / "tracks") for n in ("shown", "heard"))
    pairs = clip_pairs(shown, heard, None, seed=1)
    assert [pair.name for pair in pairs.by_protocol[CROSS]] == ["a", "b", "c"]
    assert {pair.driver for pair in pairs.by_protocol[CROSS]} == {"d", "e"}
    assert [pair.name for pair in pairs.by_protocol[RECONSTRUCTION]] == ["a", "c"]  # b says nothing
    known = pairs.by_protocol[CROSS][0].known
    again = clip_pairs(
        *(ClipFolder(tmp_path / n, None, None, tmp_path / "tracks") for n in ("shown", "heard")), None, 1
    )
    assert again.by_protocol[CROSS][0].known == known


class Copying:
    """In a pipeline's place: the output is the input."""

    face_finder = CodedFinder()

    def __call__(self, video: Path, speech: Path, target: Path, **_: object) -> None:
        shutil.copy(video, target)


def test_evaluations_of_real_clips_have_the_tracks_of_speech_and_source_beside(tmp_path, capsys):
    sources, output = tmp_path / "sources", tmp_path / "generated"
    sources.mkdir()
    for name, faces in {"a": [1] * 30, "bb": [1] * 30, "ccc": [2] * 30}.items():
        coded(sources / f"{name}.mp4", faces)
    generate(Copying(), {"a": "bb", "bb": "ccc"}, sources, output, {}, tmp_path / "tracks")
    own, other = (stored_track(sources / f"{name}.mp4", None, tmp_path / "tracks").plain() for name in ("a", "bb"))
    assert json.loads((output / "a.json").read_text()) == {"driving_track": other, "source_track": own}
    assert json.loads((output / "bb.json").read_text()) == {"driving_track": None, "source_track": other}
    assert "'ccc' has no track of the mouth: more than one person in 100 % of its frames" in capsys.readouterr().err


def test_real_clips_true_frames_follow_the_unchanged_input_leaks_and_blur_is_not_sharp(shared, tmp_path):
    pytest.importorskip("mediapipe")
    from latentsync.face.face_file import open_face_finder

    try:
        finder = open_face_finder()
    except UserError as error:
        pytest.skip(str(error))
    folder = shared / "data" / "grid" / "s1"
    if not folder.is_dir():
        pytest.skip(f"needs the real clips of {folder}")

    def make(shown: list[np.ndarray], heard: list[np.ndarray], seed: int) -> list[np.ndarray]:
        """Seed 1: the true lips. Seed 2: the source, its mouth smeared."""
        return heard if seed == 1 else [cv2.GaussianBlur(frame, (0, 0), 2) for frame in shown]

    names = ["bbbz8n", "lbaq6p"]
    pairs = clip_pairs(ClipFolder(folder, names, finder, tmp_path / "tracks"), None, None, seed=1)
    plan = Plan([1, 2], {"mouth_track": {}, "mouth_region": {}}, "mediapipe", {}, told={"weights": "stand-in"})
    outcome = measure(StandIn(make), pairs, plan, tmp_path, progress=False)
    found, seeds = by_kind(outcome), by_seed(outcome)
    for summary in (found["cross: true frames"], seeds["cross, seed 1"]):
        assert summary["follows"].low > 0.95
        assert abs(summary["leaks"].mean) < 0.3
        assert summary["track_lag"].low == summary["track_lag"].high == 0
    for summary in (found["cross: input unchanged"], seeds["cross, seed 2"]):
        assert summary["leaks"].low > 0.9
        assert summary["follows"].high < 0.5  # the sentences share a rhythm
    assert "follows" not in found["reconstruction"]
    assert seeds["reconstruction, seed 1"]["track_r"].low > 0.95
    assert seeds["cross, seed 2"]["sharpness"].high < 0.5
    assert "region_psnr" not in seeds["cross, seed 1"]
    assert seeds["reconstruction, seed 1"]["region_psnr"].low > 35
    assert seeds["reconstruction, seed 2"]["region_psnr"].high < 34
    assert write_sheet(pairs, plan, RESOLUTION, tmp_path).is_file()
