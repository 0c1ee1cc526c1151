"""An evaluation as a whole: rows, reasons, intervals, the report in a browser, and comparisons."""

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from raw_heads import HereRunner, draw_head, write_head

from configs.compose import load_config
from eval import evaluate
from eval.evaluate import available
from eval.generation import check_same, pairing
from eval.metrics.metric import Definition
from eval.report import worst_first
from eval.results import Results, Summary, VideoResult, bootstrap_interval, read_results, table
from eval.scoring import Settings
from latentsync.errors import UserError

SETTINGS = Settings({"similarity": {}, "mouth_truth": {}, "flicker": {}}, 64, "json")
PROTOCOL = {"protocol": "reconstruction", "seed": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """true/ and generated/: a, sub/b as they are, c damaged; d only true, e only generated, f not a video."""
    root = tmp_path_factory.mktemp("videos")
    for name, person in {"a": 100_003, "sub/b": 100_004, "c": 100_005}.items():
        clip = draw_head(person)
        write_head(root / "true" / f"{name}.mp4", clip)
        frames = clip.frames // 2 if name == "c" else clip.frames
        write_head(root / "generated" / f"{name}.mp4", replace(clip, frames=frames))
    for side, name in (("true", "d"), ("generated", "e"), ("true", "f")):
        for suffix in (".mp4", ".json"):
            shutil.copy(root / "true" / f"a{suffix}", root / side / f"{name}{suffix}")
    shutil.copy(root / "true" / "a.json", root / "generated" / "f.json")
    (root / "generated" / "f.mp4").write_text("no video")
    return root


@pytest.fixture(scope="module")
def results(folders: Path) -> Results:
    output = folders / "out"
    return evaluate.evaluate("ours", folders / "generated", folders / "true", output, SETTINGS, HereRunner(), PROTOCOL)


def test_every_pair_is_scored_and_a_bad_video_is_a_row_with_its_reason(results: Results) -> None:
    videos = {video.name: video for video in results.videos}
    assert set(videos) == {"a", "sub/b", "c", "f"}
    assert "f.mp4" in str(videos["f"].error)
    assert videos["a"].values["psnr"] > 45 > videos["c"].values["psnr"]
    assert videos["a"].values["mouth_r"] > 0.9
    assert videos["a"].frames == 50
    assert results.unmatched == {"videos": ["e"], "reference": ["d"]}


def test_ground_truth_is_scored_by_the_same_code_without_comparing_it_to_itself(results: Results) -> None:
    assert {video.name for video in results.truth} == {"a", "sub/b", "c", "f"}
    assert "psnr" not in results.truth_summaries
    assert results.truth_summaries["flicker_mouth"].count == 4
    assert results.truth[0].missing["ssim"] == "no reference video"


def test_files_say_the_same_and_hold_the_protocol(results: Results, folders: Path) -> None:
    stored = read_results(folders / "out")
    assert stored.summaries == results.summaries
    assert stored.protocol["seed"] == 1
    assert {"resolution", "finder", "metrics"} <= set(stored.protocol)
    assert {"torch", "latentsync"} <= set(stored.protocol["versions"])
    lines = (folders / "out" / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 4 + 4
    page = (folders / "out" / "results.md").read_text()
    assert "SSIM ↑ (n = 3)" in page
    assert "1 of 4 videos failed" in page
    assert "ground truth" in page


def test_second_run_scores_only_what_changed(results: Results, folders: Path) -> None:
    runner, output = HereRunner(), folders / "out"
    again = evaluate.evaluate("ours", folders / "generated", folders / "true", output, SETTINGS, runner, PROTOCOL)
    assert runner.asked == []
    assert again.summaries == results.summaries
    changed = shutil.copytree(folders / "generated", folders / "changed")
    shutil.copytree(output, folders / "out2")
    shutil.copy(folders / "true" / "c.mp4", changed / "c.mp4")
    evaluate.evaluate("ours", changed, folders / "true", folders / "out2", SETTINGS, runner, PROTOCOL)
    assert "c" in runner.asked
    assert runner.asked.count("d") == 0


def test_cross_protocol_has_no_number_that_needs_true_frames(folders: Path) -> None:
    output, protocol = folders / "cross", {"protocol": "cross"}
    found = evaluate.evaluate("x", folders / "generated", folders / "true", output, SETTINGS, HereRunner(), protocol)
    assert "ssim" not in found.summaries
    assert "flicker_mouth" in found.summaries
    assert found.videos[0].missing["psnr"] == "the cross protocol has no true frames"


def test_metric_without_weights_is_reported_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    missing = {"weights": str(tmp_path / "none")}
    usable, reasons = available(Settings({"similarity": {}, "fid": missing}, 64, "json"), {})
    assert set(usable) == {"similarity"}
    assert "fetch inception-fid" in reasons["fid"]
    with pytest.raises(UserError, match="no metric can be computed"):
        available(Settings({"fid": missing}, 64, "json"), {})
    with pytest.raises(UserError, match="no metric can be computed: fvd: too tight"):
        available(Settings({"fvd": {}}, 64, "json"), {"fvd": "too tight", "sync_v2": "not asked for"})


def test_reconstruction_with_other_sound_is_stopped_or_scored_as_cross(folders: Path, tmp_path: Path) -> None:
    for side in ("true", "generated"):
        shutil.copytree(folders / side, tmp_path / side)
    shutil.copy(folders / "true" / "sub" / "b.mp4", tmp_path / "true" / "a.mp4")
    given = "x", tmp_path / "generated", tmp_path / "true", tmp_path / "out", SETTINGS, HereRunner(), PROTOCOL
    with pytest.raises(UserError, match=r"sound of 1 of 4 videos is not their reference's \('a': correlation"):
        evaluate.evaluate(*given)
    found = evaluate.evaluate(*given, other_sound="cross")
    assert found.protocol["protocol"] == "cross"
    assert "ssim" not in found.summaries
    assert "scored as cross: the sound of 1 of 4" in found.markdown()


def test_nothing_paired_has_exit_code_one(folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "true").mkdir()
    shutil.copy(folders / "true" / "a.mp4", tmp_path / "true" / "other.mp4")
    paths = [f"videos={folders / 'generated'}", f"reference={tmp_path / 'true'}", f"output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit) as stopped:
        evaluate.run(load_config("eval/evaluate", [*paths, "metrics=[flicker]"]))
    assert stopped.value.code == 1
    assert "no name in common" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (["protocol=mixed", "videos=a"], "choose one of reconstruction, cross"),
        ([], "give either videos"),
        (["videos=a", "shards=b"], "give either videos"),
        (["videos=a", "seed=0"], "give 1 or more"),
        (["videos=a", "other_sound=maybe"], "choose stop or cross"),
        (["videos=a", "sources=b"], "the folder of videos that shards"),
        (["shards=a", "sources=b"], "the folder of videos that shards"),
        (["videos=a", "metrics=[bleu]"], "give some of"),
        (["videos=a", "resolution=100"], "multiple of 8"),
    ],
)
def test_mistakes_are_one_line(override: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        evaluate.run(load_config("eval/evaluate", [*override, f"output={tmp_path}"]))


def test_nobody_gets_their_own_speech_and_every_speech_is_heard_once() -> None:
    keys = [str(number) for number in range(9)]
    for seed in range(20):
        pairs = pairing(keys, "cross", seed)
        assert all(clip != speech for clip, speech in pairs.items())
        assert sorted(pairs.values()) == keys
    assert pairing(keys, "cross", 3) == pairing(keys, "cross", 3) != pairing(keys, "cross", 4)
    with pytest.raises(UserError, match="two clips"):
        pairing(["1"], "cross", 1)


def test_videos_of_other_settings_are_never_taken_for_these(tmp_path: Path) -> None:
    check_same(tmp_path, {"weights": "demo", "seed": 1})
    check_same(tmp_path, {"weights": "demo", "seed": 1})
    with pytest.raises(UserError, match="give another folder"):
        check_same(tmp_path, {"weights": "mine", "seed": 1})


def test_bootstrap_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(values.mean() - 1.96 * 2 / 20, abs=0.05)
    assert high == pytest.approx(values.mean() + 1.96 * 2 / 20, abs=0.05)
    assert bootstrap_interval(values[:1]) == (None, None), "one video has no interval"


UP = Definition("up", "Up", "", "higher", "", "")
DOWN = Definition("down", "Down", "px", "lower", "", "", decimals=1)


def test_table_shows_a_dash_where_nothing_was_computed() -> None:
    rows = {"a": {"up": Summary(0.5, 0.4, 0.6, 3)}, "b": {"down": Summary(2, None, None, 2)}}
    rows["c"] = {"down": Summary(1, 0, 2, 4)}
    text = table(rows, {"up": UP, "down": DOWN}, {})
    assert text.splitlines()[0] == "| | Up ↑ (n = 3) | Down (px) ↓ (n = 2 to 4) |"
    assert text.splitlines()[2] == "| a | 0.500 [0.400, 0.600] | – |"
    assert text.splitlines()[3] == "| b | – | 2.0 |"


def test_worst_videos_come_first() -> None:
    videos = [VideoResult(str(n), {"down": float(n)}) for n in range(3)]
    videos += [VideoResult("failed", error="why"), VideoResult("none")]
    assert [video.name for video in worst_first(videos, DOWN)] == ["failed", "2", "1", "0", "none"]
    assert [video.name for video in worst_first(videos[:3], replace(UP, name="down"))] == ["0", "1", "2"]


def test_videos_of_the_report_play_in_a_browser(results: Results, folders: Path, browser) -> None:
    browser.get((folders / "out" / "report.html").as_uri())
    ready = "return [...document.querySelectorAll('video')].map(v => [v.readyState, v.duration, v.videoWidth])"
    for _ in range(100):
        states = browser.execute_script(ready)
        if states and all(state[0] >= 2 for state in states[:6]):
            break
        time.sleep(0.1)
    assert len(states) == 6, "three pairs; the fourth has no video that plays"
    assert all(state[0] >= 2 and state[1] == pytest.approx(2.0, abs=0.05) and state[2] > 0 for state in states)
    assert "f.mp4" in browser.page_source


class Copies:
    """A pipeline that gives back what it gets."""

    face_finder = None

    def __call__(self, input: Path, audio: Path, output: Path, progress: object, **options: object) -> None:
        shutil.copy(input, output)


def test_tight_shards_have_no_sync_and_no_fvd_and_say_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from data_prep.synthesize import synthesize
    from latentsync.inference.pipeline import LipSyncPipeline

    monkeypatch.setattr(LipSyncPipeline, "from_pretrained", lambda *arguments, **options: Copies())
    synthesize(output=tmp_path / "shards", num_clips=2, seconds=1.0, resolution=64)
    overrides = [f"shards={tmp_path / 'shards'}", f"output={tmp_path / 'out'}", "metrics=[flicker,fvd,sync_v2]"]
    evaluate.run(load_config("eval/evaluate", [*overrides, "finder=json", "resolution=64", "runner.num_workers=1"]))
    stored = read_results(tmp_path / "out")
    assert set(stored.not_computed) == {"fvd", "sync_v2"}
    assert all("give sources=DIR" in reason for reason in stored.not_computed.values())
    assert "Not computed: fvd: the shards hold faces cut tightly" in capsys.readouterr().out
    assert stored.protocol["pictures"] == "aligned faces"
    assert [video.speech for video in stored.videos] == [video.name for video in stored.videos]
    assert len({video.clip for video in stored.videos}) == 2
