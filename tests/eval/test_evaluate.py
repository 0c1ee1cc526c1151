"""An evaluation as a whole: rows, reasons, intervals, the report in a browser, and comparisons."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from raw_heads import HereRunner, draw_head, write_head

from configs.compose import load_config
from eval import compare, evaluate
from eval.evaluate import available, match
from eval.generation import check_same, pairing, unpack, upright_size
from eval.metrics.metric import Definition
from eval.report import worst_first
from eval.results import Results, Summary, VideoResult, bootstrap_interval, read_results, summarise, table
from eval.scoring import Settings
from latentsync.data.shards import ShardSet
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
    assert {"torch", "latentsync", "resolution", "finder"} <= set(stored.protocol)
    lines = (folders / "out" / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 4 + 4
    page = (folders / "out" / "results.md").read_text()
    assert "SSIM ↑" in page
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
    usable, reasons = available(Settings({"similarity": {}, "fid": missing}, 64, "json"))
    assert set(usable) == {"similarity"}
    assert "fetch inception-fid" in reasons["fid"]
    with pytest.raises(UserError, match="no metric can be computed"):
        available(Settings({"fid": missing}, 64, "json"))


def test_folders_without_a_common_name_are_refused(folders: Path, tmp_path: Path) -> None:
    shutil.copy(folders / "true" / "a.mp4", tmp_path / "other.mp4")
    with pytest.raises(UserError, match="no name in common"):
        match(folders / "generated", tmp_path)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (["protocol=mixed", "videos=a"], "choose one of reconstruction, cross"),
        ([], "give either videos"),
        (["videos=a", "shards=b"], "give either videos"),
        (["videos=a", "seed=0"], "give 1 or more"),
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


def test_clips_of_shards_come_out_upright_with_their_landmarks(tmp_path: Path) -> None:
    from data_prep.synthesize import synthesize
    from latentsync.media.probe import probe_video

    synthesize(output=tmp_path / "shards", num_clips=1, seconds=1.0, resolution=64)
    (key,) = unpack(ShardSet(tmp_path / "shards"), tmp_path / "sources", None)
    info = probe_video(tmp_path / "sources" / f"{key}.mp4")
    assert (info.height, info.width) == upright_size(64) == (128, 96)
    points = np.array(json.loads((tmp_path / "sources" / f"{key}.json").read_text())["truth"]["landmarks3"])
    assert points.shape == (25, 3, 2)
    # On the canvas that crops are squeezed from, the brows are 41 of 75 apart.
    assert np.ptp(points[:, :2, 0], axis=1).mean() == pytest.approx(41 / 75 * 96, rel=0.1)


def test_bootstrap_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(values.mean() - 1.96 * 2 / 20, abs=0.05)
    assert high == pytest.approx(values.mean() + 1.96 * 2 / 20, abs=0.05)


UP = Definition("up", "Up", "", "higher", "", "")
DOWN = Definition("down", "Down", "px", "lower", "", "", decimals=1)


def made(label: str, up: list[float], down: list[float], **protocol: object) -> Results:
    videos = [VideoResult(f"v{n}", {"up": a, "down": b}) for n, (a, b) in enumerate(zip(up, down))]
    definitions = {"up": UP, "down": DOWN}
    return Results(label, {"seed": 1, **protocol}, definitions, {}, videos, [], summarise(videos, definitions), {}, {})


def test_comparison_marks_the_best_and_tests_pairs_of_videos(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    base = generator.uniform(0.4, 0.6, 12)
    loaded = {
        "a": made("a", base.tolist(), (base * 10).tolist()),
        "b": made("b", (base + generator.uniform(0.01, 0.1, 12)).tolist(), (base * 10 + 1).tolist(), seed=2),
        "c": made("c", (base + generator.normal(0, 0.1, 12)).tolist(), (base * 10).tolist()),
    }
    page = compare.markdown(loaded)
    rows = {label: summary.summaries for label, summary in loaded.items()}
    assert compare.best_of(rows, {"up": UP, "down": DOWN}) == {"up": "b", "down": "a"}
    assert f"**{loaded['b'].summaries['up'].mean:.3f}**" in page
    assert "Warning: seed differs: 1, 2" in page
    tests = {(test.metric, test.label): test for test in compare.differences(loaded, {"up": UP, "down": DOWN})}
    change = [b.values["up"] - a.values["up"] for a, b in zip(loaded["a"].videos, loaded["b"].videos)]
    plain = float(scipy.stats.wilcoxon(change).pvalue)
    assert tests["up", "b"].p == pytest.approx(2 * plain)  # the smaller of two, Holm
    assert tests["up", "b"].low > 0
    assert tests["down", "c"].p == 1.0
    compare.plot(loaded, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_too_few_videos_are_not_tested() -> None:
    loaded = {"a": made("a", [1, 2], [1, 2]), "b": made("b", [2, 3], [1, 2])}
    assert compare.differences(loaded, {"up": UP})[0].p is None


def test_comparison_finds_runs_and_refuses_other_definitions(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made("model", [1.0], [2.0]).write(tmp_path / name)
    assert list(compare.load([], str(tmp_path))) == ["model", "model (two)"]
    with pytest.raises(UserError, match="give two or more"):
        compare.load([str(tmp_path / "one")], None)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match="not a results"):
        compare.load([str(tmp_path / "bad.json"), str(tmp_path / "one")], None)
    other = made("x", [1.0], [2.0])
    other.definitions["up"] = replace(UP, better="lower")
    with pytest.raises(UserError, match="defined otherwise"):
        compare.definitions_of({"a": made("a", [1.0], [1.0]), "x": other})


def test_table_shows_a_dash_where_nothing_was_computed() -> None:
    rows = {"a": {"up": Summary(0.5, 0.4, 0.6, 3)}, "b": {"down": Summary(2, None, None, 3)}}
    text = table(rows, {"up": UP, "down": DOWN}, {})
    assert text.splitlines()[0] == "| | Up ↑ | Down (px) ↓ |"
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
