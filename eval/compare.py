"""Evaluations side by side: `python -m eval.compare A/results.json B/results.json …`, or `runs=DIR`.

Prints a table over the clips that all have, with the best in bold where they may be ranked (see `eval.comparable`), and
for every metric how each differs from the first, paired over these clips. Writes compare.md, compare.json, compare.png.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from configs.compose import command
from eval.comparable import Comparison, compared
from eval.results import (
    GROUND_TRUTH,
    Results,
    Summary,
    VideoResult,
    bootstrap_interval,
    read_results,
    summarise,
    table,
)
from latentsync.errors import UserError
from latentsync.work.files import write_whole, written_whole

_FEWEST = 6  # pairs below which no test can reach p < 0.05


@dataclass(frozen=True)
class Difference:
    """label minus the first one, over the `count` clips that all have. low, high: 95 % interval of the mean
    (bootstrap), None for a single clip; p: of Wilcoxon's signed-rank test, two-sided, Holm-corrected over the
    comparisons of a metric, None for too few clips."""

    metric: str
    label: str
    count: int
    mean: float
    low: float | None
    high: float | None
    p: float | None


def load(paths: Sequence[str], runs: str | None) -> dict[str, Results]:
    """Label -> results; `runs`: a folder, searched for results.json of eval.evaluate. Raises UserError."""
    found = [Path(path) for path in paths]
    if runs is not None:
        if not Path(runs).is_dir():
            raise UserError(f"runs '{runs}': no such folder")
        found += sorted(path for path in Path(runs).rglob("results.json") if '"summaries"' in path.read_text())
    if len(found) < 2:
        raise UserError(f"found {len(found)} results of eval.evaluate; give two or more results.json, or runs=FOLDER")
    loaded: dict[str, Results] = {}
    for path in found:
        results = read_results(path)
        folder = path.parent if path.suffix else path
        label = results.label if results.label not in loaded else f"{results.label} ({folder.name})"
        if label in loaded:
            label = f"{results.label} ({folder})"
        loaded[label] = results
    return loaded


def differences(loaded: Mapping[str, Results], comparison: Comparison) -> list[Difference]:
    """Every other one against the first, in what may be ranked."""
    first, *others = loaded
    made: list[Difference] = []
    for name, definition in comparison.definitions.items():
        if definition.of_set or comparison.differs or name in comparison.unranked:
            continue
        values = {
            label: [video.values[name] for video in _named(loaded[label], comparison.common[name])]
            for label, row in comparison.rows.items()
            if name in row
        }
        if first in values:
            found = [_difference(name, label, values[first], values[label]) for label in others if label in values]
            made += holm(found)
    return made


def _named(results: Results, names: Sequence[str]) -> list[VideoResult]:
    known = {video.name: video for video in results.videos}
    return [known[name] for name in names]


def _difference(name: str, label: str, before: Sequence[float], after: Sequence[float]) -> Difference:
    import scipy.stats  # takes a second to import

    change = np.array(after) - np.array(before)
    low, high = bootstrap_interval(change)
    p = None
    if len(change) >= _FEWEST:
        p = float(scipy.stats.wilcoxon(change).pvalue) if np.any(change) else 1.0
    return Difference(name, label, len(change), float(change.mean()), low, high, p)


def holm(tests: list[Difference]) -> list[Difference]:
    """The same with p values corrected for their number (Holm 1979)."""
    order = sorted((test for test in tests if test.p is not None), key=lambda test: test.p or 0.0)
    corrected: dict[str, float] = {}
    largest = 0.0
    for place, test in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * (test.p or 0.0)))
        corrected[test.label] = largest
    return [Difference(**{**asdict(test), "p": corrected.get(test.label)}) for test in tests]


def markdown(loaded: Mapping[str, Results], comparison: Comparison) -> str:
    """The whole page."""
    definitions = comparison.definitions
    lines = [table({**comparison.rows, **_truth(loaded, comparison)}, definitions, comparison.best), ""]
    lines += [f"Not ranked: {text}" for text in comparison.differs]
    lines += [f"{definitions[name].title} is not ranked: {reason}" for name, reason in comparison.unranked.items()]
    lines += [f"Note: {text}" for text in comparison.notes]
    lines += ["Means over the n clips that all have; best in bold where it may be ranked."]
    tests = differences(loaded, comparison)
    if not tests:
        return "\n".join(lines) + "\n"
    lines += ["", f"Differences from {next(iter(loaded))}, paired over videos:", ""]
    lines += ["| metric | model | videos | difference | 95 % interval | p |", "| --- " * 6 + "|"]
    for test in tests:
        decimals = definitions[test.metric].decimals
        p = f"too few (< {_FEWEST})" if test.p is None else "< 0.001" if test.p < 0.001 else f"{test.p:.3f}"
        interval = "–" if test.low is None else f"[{test.low:+.{decimals}f}, {test.high:+.{decimals}f}]"
        lines.append(
            f"| {definitions[test.metric].title} | {test.label} | {test.count} | {test.mean:+.{decimals}f} | "
            f"{interval} | {p} |"
        )
    lines += ["", "p: Wilcoxon's signed-rank test, two-sided, Holm-corrected over the models of a metric."]
    return "\n".join(lines) + "\n"


def _truth(loaded: Mapping[str, Results], comparison: Comparison) -> dict[str, dict[str, Summary]]:
    """The row of the ground truth, of the first evaluation, over the clips that all have."""
    first = next(iter(loaded.values()))
    row: dict[str, Summary] = {}
    for name, definition in comparison.definitions.items():
        names = set(comparison.common.get(name, []))
        row |= summarise([video for video in first.truth if video.name in names], {name: definition})
    return {GROUND_TRUTH: row} if row else {}


def plot(comparison: Comparison, path: Path) -> None:
    """Means with intervals, a panel a metric, as a PNG."""
    from matplotlib.figure import Figure

    definitions, labels = comparison.definitions, list(comparison.rows)
    names = [name for name in definitions if any(name in row for row in comparison.rows.values())]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, (0.9 + 0.28 * len(labels)) * rows), dpi=100)
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, number)
        for place, row in enumerate(comparison.rows.values()):
            summary = row.get(name)
            if summary is None:
                continue
            low, high = (summary.mean if bound is None else bound for bound in (summary.low, summary.high))
            axes.plot([low, high], [place, place], color="#4a78b5")
            axes.plot(summary.mean, place, "o", markersize=4, color="#4a78b5")
        axes.set_yticks(range(len(labels)), labels if number % columns == 1 or columns == 1 else [""] * len(labels))
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_title(definitions[name].title + definitions[name].arrow, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.tight_layout()
    with written_whole(path) as part:
        figure.savefig(part, format="png")


def run(config: DictConfig) -> None:
    """See the module."""
    loaded = load(list(config.results), config.runs)
    comparison = compared(loaded, list(config.varies))
    page = markdown(loaded, comparison)
    output = Path(config.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output '{output}': {error.strerror}; give a folder") from error
    content = {
        "rows": {label: {name: asdict(one) for name, one in row.items()} for label, row in comparison.rows.items()},
        "clips": comparison.common,
        "best": comparison.best,
        "not_ranked": {"everything": comparison.differs, **comparison.unranked},
        "differences": [asdict(test) for test in differences(loaded, comparison)],
        "notes": comparison.notes,
    }
    write_whole(output / "compare.json", (json.dumps(content, indent=1) + "\n").encode())
    write_whole(output / "compare.md", page.encode())
    plot(comparison, output / "compare.png")
    print(page)
    print(f"written to {output}: compare.md, compare.json, compare.png")


def _as_results(arguments: list[str]) -> list[str]:
    """Arguments without "=" are results."""
    paths = [argument for argument in arguments if "=" not in argument and not argument.startswith("-")]
    rest = [argument for argument in arguments if argument not in paths]
    return [f"results={json.dumps(paths, ensure_ascii=False)}", *rest] if paths else rest


if __name__ == "__main__":
    sys.argv[1:] = _as_results(sys.argv[1:])
    command("eval/compare", run)
