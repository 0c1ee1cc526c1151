"""Evaluations are ranked where they are comparable, and nowhere else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from configs.compose import load_config
from eval import compare
from eval.comparable import compared
from eval.metrics.metric import Definition
from eval.results import Results, Summary, VideoResult, summarise
from eval.scoring import features_files
from latentsync.errors import UserError

UP = Definition("up", "Up", "", "higher", "", "")
DOWN = Definition("down", "Down", "px", "lower", "", "", decimals=1)


def made(label: str, up: list[float], down: list[float], **protocol: object) -> Results:
    videos = [VideoResult(f"v{n}", {"up": a, "down": b}) for n, (a, b) in enumerate(zip(up, down))]
    definitions = {"up": UP, "down": DOWN}
    told = {"protocol": "cross", "generation": {"seed": 1, "guidance_scale": 1.5}, "weights": label, **protocol}
    return Results(label, told, definitions, {}, videos, [], summarise(videos, definitions), {}, {})


def test_comparison_marks_the_best_and_tests_pairs_of_videos(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    base = generator.uniform(0.4, 0.6, 12)
    loaded = {
        "a": made("a", base.tolist(), (base * 10).tolist()),
        "b": made("b", (base + generator.uniform(0.01, 0.1, 12)).tolist(), (base * 10 + 1).tolist()),
        "c": made("c", (base + generator.normal(0, 0.1, 12)).tolist(), (base * 10).tolist()),
    }
    found = compared(loaded)
    page = compare.markdown(loaded, found)
    assert found.best == {"up": "b", "down": "a"}
    assert "| | Up ↑ (n = 12) | Down (px) ↓ (n = 12) |" in page
    assert f"**{loaded['b'].summaries['up'].mean:.3f}**" in page
    tests = {(test.metric, test.label): test for test in compare.differences(loaded, found)}
    change = [b.values["up"] - a.values["up"] for a, b in zip(loaded["a"].videos, loaded["b"].videos)]
    plain = float(scipy.stats.wilcoxon(change).pvalue)
    assert tests["up", "b"].p == pytest.approx(2 * plain)  # the smaller of two, Holm
    assert tests["up", "b"].low > 0
    assert tests["down", "c"].p == 1.0
    compare.plot(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_too_few_videos_are_not_tested() -> None:
    loaded = {"a": made("a", [1, 2], [1, 2]), "b": made("b", [2, 3], [1, 2])}
    found = compare.differences(loaded, compared(loaded))
    assert found[0].p is None
    one = {"a": made("a", [1], [1]), "b": made("b", [2], [1])}
    assert compare.differences(one, compared(one))[0].low is None
    assert "[" not in compare.markdown(one, compared(one)), "a 95 % interval of one video is none"


def test_comparison_finds_runs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made("model", [1.0], [2.0]).write(tmp_path / name)
    assert list(compare.load([], str(tmp_path))) == ["model", "model (two)"]
    with pytest.raises(UserError, match="give two or more"):
        compare.load([str(tmp_path / "one")], None)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match="not a results"):
        compare.load([str(tmp_path / "bad.json"), str(tmp_path / "one")], None)


def test_metric_that_is_defined_in_two_ways_has_no_winner() -> None:
    loaded = {"a": made("a", [1.0, 2.0], [1.0, 2.0]), "x": made("x", [2.0, 3.0], [2.0, 3.0])}
    loaded["x"].definitions["up"] = replace(UP, title="Up (vgg)")
    found = compared(loaded)
    assert found.best == {"down": "a"}
    assert "Up (vgg)" in found.unranked["up"]


def test_means_and_winner_are_those_of_the_clips_that_all_have() -> None:
    loaded = {"a": made("a", [0.1, 0.2, 0.3, 0.9], [1, 1, 1, 1]), "b": made("b", [0.2, 0.3, 0.4], [2, 2, 2])}
    found = compared(loaded)
    assert loaded["a"].summaries["up"].mean > loaded["b"].summaries["up"].mean, "by a clip that b does not have"
    assert found.rows["a"]["up"].mean == pytest.approx(0.2)
    assert found.rows["a"]["up"].count == found.rows["b"]["up"].count == 3
    assert found.best["up"] == "b"
    assert "Up ↑ (n = 3)" in compare.markdown(loaded, found)


@pytest.mark.parametrize("mark", ["clip", "speech"])
def test_clips_of_one_name_that_show_or_say_something_else_are_not_the_same(mark: str) -> None:
    loaded = {"a": made("a", [1, 2, 3], [1, 2, 3]), "b": made("b", [2, 3, 4], [1, 2, 3])}
    for label, results in loaded.items():
        for number, video in enumerate(results.videos):
            setattr(video, mark, label if number else "same")
    assert compared(loaded).common["up"] == ["v0"]
    setattr(loaded["b"].videos[0], mark, "other")
    found = compared(loaded)
    assert found.best == {}
    assert "no clip is in all of them" in compare.markdown(loaded, found)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"protocol": "reconstruction"}, "protocol differs: a cross, b reconstruction"),
        ({"resolution": 128}, "resolution differs: a None, b 128"),
        ({"generation": {"seed": 2, "guidance_scale": 1.5}}, "generation.seed differs: a 1, b 2"),
        ({"generation": {"seed": 1, "guidance_scale": 1.0}}, "generation.guidance_scale differs: a 1.5, b 1.0"),
        ({"generation": {}}, "how the videos of b were generated is not known"),
    ],
)
def test_nothing_is_ranked_where_something_else_differs_than_the_model(changes: dict, said: str) -> None:
    loaded = {"a": made("a", [1, 2] * 4, [1, 2] * 4), "b": made("b", [2, 3] * 4, [2, 3] * 4, **changes)}
    found = compared(loaded)
    page = compare.markdown(loaded, found)
    assert found.best == {}
    assert compare.differences(loaded, found) == []
    assert f"Not ranked: {said}" in page
    assert "**" not in page


def test_what_is_meant_to_differ_may() -> None:
    other = {"generation": {"seed": 1, "guidance_scale": 1.0}}
    loaded = {"a": made("a", [1, 2], [1, 2]), "b": made("b", [2, 3], [2, 3], **other)}
    assert compared(loaded, ["generation.guidance_scale"]).best["up"] == "b"
    loaded["c"] = made("c", [3, 4], [3, 4], generation={})
    assert compared(loaded, ["generation"]).best["up"] == "c"
    with pytest.raises(UserError, match="varies=guidance: no evaluation has it"):
        compared(loaded, ["guidance"])


def test_options_of_a_metric_forbid_to_rank_that_metric_alone() -> None:
    loaded = {
        "a": made("a", [1, 2], [1, 2], metrics={"up": {"every": 1}, "down": {}}, versions={"torch": "1"}),
        "b": made("b", [2, 3], [2, 3], metrics={"up": {"every": 5}, "down": {}}, versions={"torch": "2"}),
    }
    found = compared(loaded)
    assert found.best == {"down": "a"}
    assert found.unranked == {"up": "every differs: a 1, b 5"}
    assert found.notes == ["versions.torch differs: a 1, b 2"]


def test_metrics_of_sets_are_computed_anew_over_the_clips_that_all_have(tmp_path: Path) -> None:
    fvd = Definition("fvd", "FVD", "", "lower", "", "", of_set=True)
    generator = np.random.default_rng(0)
    loaded = {}
    for label, count, shift in (("a", 12, 0.1), ("b", 10, 0.5)):
        (tmp_path / label / "work" / "generated").mkdir(parents=True)
        (tmp_path / label / "work" / "truth").mkdir()
        videos = [VideoResult(f"v{number}") for number in range(count)]
        for files in features_files(tmp_path / label / "work", [video.name for video in videos]):
            truth = generator.normal(size=(3, 4))
            for path, features in zip(files, (truth + shift, truth)):
                np.savez(path, fvd=features)
        summaries = {"fvd": Summary(9.0, 8.0, 10.0, count)}
        loaded[label] = Results(label, {}, {"fvd": fvd}, {}, videos, [], summaries, {}, {}, folder=tmp_path / label)
    found = compared(loaded)
    assert [row["fvd"].count for row in found.rows.values()] == [10, 10]
    assert found.rows["a"]["fvd"].mean == pytest.approx(4 * 0.1**2)
    assert found.best == {"fvd": "a"}
    for path in (tmp_path / "b" / "work").rglob("*.npz"):
        path.unlink()
    found = compared(loaded)
    assert found.best == {}
    assert "other clips in each" in found.unranked["fvd"]


def test_command_writes_what_it_says(tmp_path: Path) -> None:
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        made(label, [1.0, 2.0], [2.0, 3.0]).write(tmp_path / label)
    compare.run(load_config("eval/compare", [f"runs={tmp_path}", f"output={tmp_path / 'out'}"]))
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert content["best"] == {"up": "one", "down": "one"}
    assert content["clips"]["up"] == ["v0", "v1"]
    assert (tmp_path / "out" / "compare.png").stat().st_size > 1000
