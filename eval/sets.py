"""Metrics of sets (FID, FVD): the Fréchet distance of the features that videos left on the disk, and its interval.

One video's features are in memory at a time, but for the few leading directions that the interval is made from.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from eval.metrics.metric import Definition
from eval.results import Summary

_FEWEST = 10  # features of either side below which a distance says nothing
_DIRECTIONS = 128  # of the features' space that the interval is made from
_RESAMPLES, _SEED = 200, 0

Files = Sequence[tuple[Path, Path]]
"""For each video the features of what was generated and of the truth: .npz, metric -> (n, D)."""


class Moments:
    """Mean and covariance of features that come in pieces, in double precision."""

    def __init__(self, size: int) -> None:
        self.count = 0.0
        self._sum = np.zeros(size)
        self._products = np.zeros((size, size))

    def add(self, features: np.ndarray, weights: np.ndarray | None = None) -> None:
        """features: (n, D); weights: (n,), how often each counts."""
        features = features.astype(np.float64)
        weighted = features if weights is None else features * weights[:, None]
        self.count += len(features) if weights is None else float(weights.sum())
        self._sum += weighted.sum(axis=0)
        self._products += weighted.T @ features

    @property
    def mean(self) -> np.ndarray:
        """(D,)"""
        return self._sum / self.count

    @property
    def covariance(self) -> np.ndarray:
        """(D, D), unbiased. Raises ValueError for fewer than two features."""
        if self.count < 2:
            raise ValueError("a covariance needs at least two features")
        return (self._products - np.outer(self._sum, self._sum) / self.count) / (self.count - 1)


def frechet_distance(one: Moments, other: Moments) -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), not below 0 (Dowson and Landau 1982).

    The trace of the root is the sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric: no complex
    parts have to be thrown away.
    """
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ other.covariance @ root)
    trace = np.trace(one.covariance) + np.trace(other.covariance) - 2 * np.sqrt(inner.clip(0)).sum()
    return max(0.0, float(((one.mean - other.mean) ** 2).sum() + trace))


def set_summaries(
    definitions: Mapping[str, Definition], files: Files
) -> tuple[dict[str, Summary], dict[str, str], list[str]]:
    """(metric -> value with its interval, metric -> why there is none, warnings of small samples)."""
    found, missing, warnings = {}, {}, []
    for name, definition in definitions.items():
        if not definition.of_set:
            continue
        sides, videos = _moments(name, files)
        counts = [0 if side is None else int(side.count) for side in sides]
        generated, true = sides
        if generated is None or true is None or min(counts) < _FEWEST:
            missing[name] = f"needs {_FEWEST} samples a side, has {counts[0]} generated and {counts[1]} true"
            continue
        distance = frechet_distance(generated, true)
        low, high = _interval(name, files, (generated, true), distance)
        found[name] = Summary(distance, low, high, videos)
        if min(counts) <= len(generated.mean):
            warnings.append(
                f"{definition.title}: n = {videos} videos give {min(counts)} samples a side, not more than features "
                f"have dimensions ({len(generated.mean)}); so small a sample makes it too large: compare at equal n"
            )
    return found, missing, warnings


def _pairs(name: str, files: Files) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The features (n, D) of both sides of each video that has them on both."""
    for pair in files:
        both = []
        for path in pair:
            if path.is_file():
                with np.load(path, allow_pickle=False) as stored:
                    if name in stored:
                        both.append(stored[name])
        if len(both) == 2:
            yield both[0], both[1]


def _moments(name: str, files: Files) -> tuple[tuple[Moments | None, Moments | None], int]:
    """(of both sides, number of videos)."""
    sides: list[Moments] = []
    videos = 0
    for pair in _pairs(name, files):
        videos += 1
        sides = sides or [Moments(part.shape[1]) for part in pair]
        for side, part in zip(sides, pair):
            side.add(part)
    return ((sides[0], sides[1]) if sides else (None, None)), videos


def _interval(
    name: str, files: Files, sides: tuple[Moments, Moments], distance: float
) -> tuple[float | None, float | None]:
    """95 % interval of the distance: videos resampled with replacement, both sides together.

    A resampled set has fewer different samples, and by that a larger distance; so the spread of the resampled distances
    is taken, about the distance itself. It is that of the leading directions of both sides' features together.
    """
    import scipy.linalg

    pooled = sides[0].covariance + sides[1].covariance
    pooled += np.outer(sides[0].mean - sides[1].mean, sides[0].mean - sides[1].mean)
    size = len(pooled)
    _, basis = scipy.linalg.eigh(pooled, subset_by_index=(max(0, size - _DIRECTIONS), size - 1))
    projected = [[part @ basis for part in pair] for pair in _pairs(name, files)]
    if len(projected) < 2:
        return None, None
    features = [np.concatenate(side) for side in zip(*projected)]
    owners = [np.repeat(np.arange(len(projected)), [len(part) for part in side]) for side in zip(*projected)]
    generator = np.random.default_rng(_SEED)
    distances = []
    for _ in range(_RESAMPLES):
        drawn = np.bincount(generator.integers(0, len(projected), len(projected)), minlength=len(projected))
        resampled = [Moments(basis.shape[1]) for _ in features]
        for moments, part, owner in zip(resampled, features, owners):
            moments.add(part, drawn[owner])
        if min(moments.count for moments in resampled) >= 2:
            distances.append(frechet_distance(*resampled))
    low, high = np.quantile(distances, [0.025, 0.975]) - np.mean(distances)
    return max(0.0, float(distance + low)), float(distance + high)
