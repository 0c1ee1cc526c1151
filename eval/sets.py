"""Metrics of sets (FID, FVD) from the features that videos left on the disk; one video's are in memory at a time."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from eval.metrics.frechet import Moments, frechet_distance
from eval.metrics.metric import Definition
from eval.results import Summary

_FEWEST = 10
"""Features of either side below which a distance says nothing."""


def set_summaries(
    definitions: Mapping[str, Definition], generated: Iterable[Path], true: Iterable[Path]
) -> tuple[dict[str, Summary], dict[str, str]]:
    """(metric -> value, metric -> why there is none). generated, true: .npz files of features by metric, (n, D)."""
    names = [name for name, definition in definitions.items() if definition.of_set]
    sides = [_moments(files, names) for files in (generated, true)]
    found, missing = {}, {}
    for name in names:
        counts = [side[name].count if name in side else 0 for side in sides]
        if min(counts) < _FEWEST:
            missing[name] = f"needs {_FEWEST} samples a side, has {counts[0]} generated and {counts[1]} true"
            continue
        found[name] = Summary(frechet_distance(sides[0][name], sides[1][name]), None, None, counts[0])
    return found, missing


def _moments(files: Iterable[Path], names: list[str]) -> dict[str, Moments]:
    found: dict[str, Moments] = {}
    for path in files:
        with np.load(path, allow_pickle=False) as stored:
            for name in names:
                if name in stored:
                    features = stored[name]
                    found.setdefault(name, Moments(features.shape[1])).add(features)
    return found
