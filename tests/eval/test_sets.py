"""Metrics of sets: the Fréchet distance of its formula, the interval of the bootstrap, a warning of small samples."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from eval import sets
from eval.metrics.metric import Definition
from eval.sets import Moments, frechet_distance, set_summaries

FVD = {"fvd": Definition("fvd", "FVD", "", "lower", "", "", of_set=True)}


def test_frechet_distance_equals_the_double_precision_formula() -> None:
    generator = np.random.default_rng(0)
    one = generator.normal(size=(300, 24))
    other = generator.normal(0.3, 1.4, size=(200, 24)) @ generator.normal(size=(24, 24))
    moments = [Moments(24), Moments(24)]
    for piece in np.split(one, 6):
        moments[0].add(piece.astype(np.float32))
    moments[1].add(other)
    first, second = np.cov(one.astype(np.float32), rowvar=False), np.cov(other, rowvar=False)
    np.testing.assert_allclose(moments[1].covariance, second, rtol=1e-9)
    root = scipy.linalg.sqrtm(first @ second)
    mean = ((one.mean(0) - other.mean(0)) ** 2).sum()
    expected = mean + np.trace(first) + np.trace(second) - 2 * np.trace(root).real
    assert frechet_distance(*moments) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(moments[0], moments[0]) == pytest.approx(0, abs=1e-6)


def test_frechet_distance_of_fewer_samples_than_dimensions_is_finite_and_right() -> None:
    features = np.random.default_rng(1).normal(size=(10, 50))
    one, shifted = Moments(50), Moments(50)
    one.add(features)
    shifted.add(features + 2)
    assert frechet_distance(one, shifted) == pytest.approx(200, rel=1e-6)


def store(folder: Path, pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[tuple[Path, Path]]:
    files = []
    for number, pair in enumerate(pairs):
        paths = folder / f"{number}_generated.npz", folder / f"{number}_true.npz"
        for path, features in zip(paths, pair):
            np.savez(path, fvd=features)
        files.append(paths)
    return files


def videos(count: int, dimensions: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Features of two clips each; what is generated is moved a bit, in each video by something else."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        person = generator.normal(size=dimensions)
        true = person + 0.3 * generator.normal(size=(2, dimensions))
        made.append((true + 0.5 + 0.5 * generator.normal(size=dimensions), true))
    return made


def test_interval_is_the_spread_over_sets_of_videos(tmp_path: Path) -> None:
    distances = []
    for seed in range(60):
        sides = [Moments(3), Moments(3)]
        for pair in videos(80, 3, seed):
            for moments, features in zip(sides, pair):
                moments.add(features)
        distances.append(frechet_distance(*sides))
    found, _, warnings = set_summaries(FVD, store(tmp_path, videos(80, 3)))
    summary = found["fvd"]
    assert summary.count == 80
    assert summary.low < summary.mean < summary.high
    assert summary.mean == pytest.approx(distances[0])
    spread = np.diff(np.quantile(distances, [0.025, 0.975]))[0]
    assert summary.high - summary.low == pytest.approx(spread, rel=0.4)
    assert warnings == []


def test_interval_of_the_leading_directions_is_nearly_that_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = 1 / np.arange(1, 61)
    files = store(tmp_path, [(one * scale, other * scale) for one, other in videos(40, 60)])
    widths = []
    for directions in (60, 20):
        monkeypatch.setattr(sets, "_DIRECTIONS", directions)
        summary = set_summaries(FVD, files)[0]["fvd"]
        widths.append(summary.high - summary.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_small_samples_are_warned_of_with_their_number(tmp_path: Path) -> None:
    found, missing, warnings = set_summaries(FVD, store(tmp_path, videos(6, 20)))
    assert found["fvd"].count == 6
    assert missing == {}
    assert warnings == [text for text in warnings if "n = 6 videos give 12 samples" in text]
    assert len(warnings) == 1


def test_videos_without_features_on_one_side_do_not_count(tmp_path: Path) -> None:
    files = store(tmp_path, videos(6, 3))
    files[0][1].unlink()
    np.savez(files[1][0], other=np.zeros((1, 3)))
    assert "has 8 generated and 8 true" in set_summaries(FVD, files)[1]["fvd"]


def test_one_video_has_a_distance_and_no_interval(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    pair = generator.normal(size=(20, 3)), generator.normal(size=(20, 3))
    summary = set_summaries(FVD, store(tmp_path, [pair]))[0]["fvd"]
    assert (summary.low, summary.high, summary.count) == (None, None, 1)
