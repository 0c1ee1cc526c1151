"""The results of a lip-sync measurement as JSON and as Markdown tables."""

import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.metric import Definition
from latentsync.work.files import write_whole

GOALS: dict[str, tuple[str, float]] = {
    "mouth_r": ("≥", 0.8), "own_mouth_r": ("≤", 0.3), "psnr_outside_blend": ("≥", 35.0),
}  # fmt: skip
"""Of drawn people, for the means of swapped speech."""
SWAPPED = "cross"


@dataclass(frozen=True)
class Row:
    """One video. kind: "cross" or "reconstruction", generated with `seed`; with ": input unchanged" or ": true frames"
    behind it what these are compared with (seed None). name: who is shown; driver: who is heard; error: why there are
    no values."""

    kind: str
    name: str
    driver: str
    seed: int | None
    values: dict[str, float]
    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """All videos; the metrics' definitions; metrics that could not be computed, and clips left out, with the reason."""

    rows: list[Row]
    definitions: dict[str, Definition]
    not_computed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """Of one metric: mean over clips (of each clip's mean over seeds), the lowest and the highest clip, clips."""

    mean: float
    low: float
    high: float
    count: int


def summaries(rows: Iterable[Row]) -> dict[str, Summary]:
    """Metric -> summary of rows of one kind."""
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for row in rows:
        for name, value in row.values.items():
            found.setdefault(name, {}).setdefault((row.name, row.driver), []).append(value)
    result = {}
    for name, clips in found.items():
        means = [float(np.mean(values)) for values in clips.values()]
        result[name] = Summary(float(np.mean(means)), min(means), max(means), len(means))
    return result


def by_kind(outcome: Outcome) -> dict[str, dict[str, Summary]]:
    """Kind -> metric -> summary, in the order of the rows."""
    kinds = sorted({row.kind for row in outcome.rows}, key=lambda kind: (kind.split(":")[0], kind))
    return {kind: summaries(row for row in outcome.rows if row.kind == kind) for kind in kinds}


def by_seed(outcome: Outcome) -> dict[str, dict[str, Summary]]:
    """ "KIND, seed N" -> metric -> summary, where there are several seeds."""
    pairs = sorted({(row.kind, row.seed) for row in outcome.rows if row.seed is not None})
    if len({seed for _, seed in pairs}) < 2:
        return {}
    return {
        f"{kind}, seed {seed}": summaries(row for row in outcome.rows if (row.kind, row.seed) == (kind, seed))
        for kind, seed in pairs
    }


def goals_met(outcome: Outcome) -> dict[str, bool]:
    """Which of `GOALS` the means of swapped speech meet; only those that were measured."""
    means = by_kind(outcome).get(SWAPPED, {})
    return {
        name: means[name].mean >= goal if sign == "≥" else means[name].mean <= goal
        for name, (sign, goal) in GOALS.items()
        if name in means
    }


def table(outcome: Outcome, told: Mapping[str, Any]) -> str:
    """Markdown: a line a kind of row, then a line a seed and a clip, what was left out, and what was run."""
    kinds = by_kind(outcome)
    shown = [name for name in outcome.definitions if any(name in kind for kind in kinds.values())]
    lines = [
        *_head("mean [lowest, highest clip]", shown, outcome),
        *(_line(k, kinds[k], shown, outcome) for k in kinds),
    ]
    if met := goals_met(outcome):
        cells = [
            f"{GOALS[name][0]} {GOALS[name][1]:g} ({'met' if met[name] else 'missed'})" if name in met else ""
            for name in shown
        ]
        lines.append(f"| goal of {SWAPPED} | " + " | ".join(cells) + " |")
    if seeds := by_seed(outcome):
        lines += ["", *_head("seed", shown, outcome), *(_line(seed, seeds[seed], shown, outcome) for seed in seeds)]
    lines += ["", *_head("clip, mean of seeds", shown, outcome)]
    for kind, name, driver in dict.fromkeys((r.kind, r.name, r.driver) for r in outcome.rows if r.seed is not None):
        some = [row for row in outcome.rows if (row.kind, row.name, row.driver) == (kind, name, driver)]
        lines.append(_line(f"{kind}: {name} ← {driver}", summaries(some), shown, outcome, ranges=False))
    lines += ["", *_remarks(outcome), ", ".join(f"{name} {value}" for name, value in {**told, **versions()}.items())]
    return "\n".join(lines)


def _remarks(outcome: Outcome) -> list[str]:
    lines = [f"Left out, {len(outcome.left_out)}: " + _listed(outcome.left_out)] if outcome.left_out else []
    lines += [f"Not computed: {name}: {reason}." for name, reason in outcome.not_computed.items()]
    failed = {f"{row.kind}: {row.name} ← {row.driver}, seed {row.seed}": row.error for row in outcome.rows if row.error}
    if failed:
        lines.append(f"Without a result, {len(failed)}: " + _listed(failed))
    return [part for line in lines for part in (line, "")]


def _listed(reasons: Mapping[str, str | None]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in reasons.items())


def _head(first: str, shown: Sequence[str], outcome: Outcome) -> list[str]:
    heads = [outcome.definitions[name] for name in shown]
    titles = [f"{head.title}{f' ({head.unit})' if head.unit else ''}{head.arrow}" for head in heads]
    return [f"| {first} | " + " | ".join(titles) + " |", "|" + " --- |" * (len(shown) + 1)]


def _line(label: str, found: Mapping[str, Summary], shown: Sequence[str], outcome: Outcome, ranges: bool = True) -> str:
    def cell(name: str) -> str:
        if name not in found:
            return "–"
        decimals, one = outcome.definitions[name].decimals, found[name]
        text = f"{one.mean:.{decimals}f}"
        return f"{text} [{one.low:.{decimals}f}, {one.high:.{decimals}f}]" if ranges and one.count > 1 else text

    return f"| {label} | " + " | ".join(cell(name) for name in shown) + " |"


def versions() -> dict[str, str]:
    """Of what the figures depend on."""
    import torch

    from latentsync import __version__
    from latentsync.synthetic.clip import GENERATOR_VERSION

    return {
        "latentsync": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "synthetic heads": str(GENERATOR_VERSION),
    }


def write_results(outcome: Outcome, told: Mapping[str, Any], folder: Path) -> None:
    """results.json and results.md in `folder`, each appearing when it is complete."""
    content = {
        "settings": dict(told),
        "versions": versions(),
        "definitions": {name: asdict(definition) for name, definition in outcome.definitions.items()},
        "mean": {kind: {n: asdict(one) for n, one in found.items()} for kind, found in by_kind(outcome).items()},
        "seeds": {seed: {n: asdict(one) for n, one in found.items()} for seed, found in by_seed(outcome).items()},
        "goals": {name: list(goal) for name, goal in GOALS.items()},
        "goals_met": goals_met(outcome),
        "videos": [asdict(row) for row in outcome.rows],
        "left_out": outcome.left_out,
        "not_computed": outcome.not_computed,
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_finite(content), indent=1, allow_nan=False, ensure_ascii=False)
    write_whole(folder / "results.json", (text + "\n").encode())
    write_whole(folder / "results.md", (table(outcome, told) + "\n").encode())


def _finite(value: Any) -> Any:
    """JSON knows neither infinity nor "not a number": such values are left as words."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
