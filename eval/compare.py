"""Evaluations side by side: `python -m eval.compare A/results.json B/results.json …`, or `runs=DIR`.

Prints a table with the best in bold, and for every metric how each differs from the first: paired over the videos that
both have. Writes compare.md, compare.json and compare.png.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy.stats
from matplotlib.figure import Figure
from omegaconf import DictConfig

from configs.compose import command
from eval.metrics.metric import Definition
from eval.results import GROUND_TRUTH, Results, Summary, bootstrap_interval, read_results, table
from latentsync.errors import UserError
from latentsync.work.files import write_whole, written_whole

_FEWEST = 6  # pairs below which no test can reach p < 0.05


@dataclass(frozen=True)
class Difference:
    """label minus the first one, over the `count` videos that both have. low, high: 95 % interval of the mean
    (bootstrap); p: of Wilcoxon's signed-rank test, two-sided, Holm-corrected over the comparisons of a metric; None for
    too few videos."""

    metric: str
    label: str
    count: int
    mean: float
    low: float
    high: float
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


def definitions_of(loaded: Mapping[str, Results]) -> dict[str, Definition]:
    """Of all. Raises UserError where two evaluations define a metric of one name differently."""
    known: dict[str, Definition] = {}
    for label, results in loaded.items():
        for name, definition in results.definitions.items():
            if known.setdefault(name, definition) != definition:
                raise UserError(f"metric '{name}' of '{label}' is defined otherwise than before; evaluate both anew")
    return known


def warnings(loaded: Mapping[str, Results]) -> list[str]:
    """Parts of the protocol in which the evaluations differ, beside weights and folders."""
    own = {"weights", "videos", "reference", "shards"}
    names = sorted({name for results in loaded.values() for name in results.protocol} - own)
    told = []
    for name in names:
        values = {str(results.protocol.get(name)) for results in loaded.values()}
        if len(values) > 1:
            told.append(f"{name} differs: {', '.join(sorted(values))}")
    return told


def best_of(rows: Mapping[str, Mapping[str, Summary]], definitions: Mapping[str, Definition]) -> dict[str, str]:
    """Metric -> label of the best, for metrics that have a good direction."""
    best = {}
    for name, definition in definitions.items():
        means = {label: row[name].mean for label, row in rows.items() if name in row}
        if means and definition.better != "none":
            best[name] = (max if definition.better == "higher" else min)(means, key=lambda label: means[label])
    return best


def differences(loaded: Mapping[str, Results], definitions: Mapping[str, Definition]) -> list[Difference]:
    """Every other one against the first."""
    first, *others = loaded
    made = []
    for name, definition in definitions.items():
        if definition.of_set:
            continue
        found = [_difference(name, label, loaded[first], loaded[label]) for label in others]
        made += holm([difference for difference in found if difference is not None])
    return made


def _difference(name: str, label: str, first: Results, other: Results) -> Difference | None:
    before = {video.name: video.values[name] for video in first.videos if name in video.values}
    after = {video.name: video.values[name] for video in other.videos if name in video.values}
    both = sorted(set(before) & set(after))
    if not both:
        return None
    change = np.array([after[video] - before[video] for video in both])
    low, high = bootstrap_interval(change)
    p = None
    if len(both) >= _FEWEST:
        p = float(scipy.stats.wilcoxon(change).pvalue) if np.any(change) else 1.0
    return Difference(name, label, len(both), float(change.mean()), low, high, p)


def holm(tests: list[Difference]) -> list[Difference]:
    """The same with p values corrected for their number (Holm 1979)."""
    order = sorted((test for test in tests if test.p is not None), key=lambda test: test.p or 0.0)
    corrected: dict[str, float] = {}
    largest = 0.0
    for place, test in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * (test.p or 0.0)))
        corrected[test.label] = largest
    return [Difference(**{**asdict(test), "p": corrected.get(test.label)}) for test in tests]


def markdown(loaded: Mapping[str, Results]) -> str:
    """The whole page."""
    definitions = definitions_of(loaded)
    rows = {label: results.summaries for label, results in loaded.items()}
    first = next(iter(loaded))
    truth = {GROUND_TRUTH: loaded[first].truth_summaries} if loaded[first].truth_summaries else {}
    lines = [table({**rows, **truth}, definitions, best_of(rows, definitions)), ""]
    lines += [f"Warning: {text}" for text in warnings(loaded)]
    lines += ["", f"Differences from {first}, paired over videos:", ""]
    lines += ["| metric | model | videos | difference | 95 % interval | p |", "| --- " * 6 + "|"]
    for test in differences(loaded, definitions):
        decimals = definitions[test.metric].decimals
        p = f"too few (< {_FEWEST})" if test.p is None else "< 0.001" if test.p < 0.001 else f"{test.p:.3f}"
        lines.append(
            f"| {definitions[test.metric].title} | {test.label} | {test.count} | {test.mean:+.{decimals}f} | "
            f"[{test.low:+.{decimals}f}, {test.high:+.{decimals}f}] | {p} |"
        )
    lines += ["", "p: Wilcoxon's signed-rank test, two-sided, Holm-corrected over the models of a metric."]
    return "\n".join(lines) + "\n"


def plot(loaded: Mapping[str, Results], path: Path) -> None:
    """Means with intervals, a panel a metric, as a PNG."""
    definitions = definitions_of(loaded)
    names = [name for name in definitions if any(name in results.summaries for results in loaded.values())]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, (0.9 + 0.28 * len(loaded)) * rows), dpi=100)
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, number)
        for place, results in enumerate(loaded.values()):
            summary = results.summaries.get(name)
            if summary is None:
                continue
            low, high = (summary.mean if bound is None else bound for bound in (summary.low, summary.high))
            axes.plot([low, high], [place, place], color="#4a78b5")
            axes.plot(summary.mean, place, "o", markersize=4, color="#4a78b5")
        axes.set_yticks(
            range(len(loaded)), list(loaded) if number % columns == 1 or columns == 1 else [""] * len(loaded)
        )
        axes.set_ylim(len(loaded) - 0.5, -0.5)
        axes.set_title(definitions[name].title + definitions[name].arrow, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.tight_layout()
    with written_whole(path) as part:
        figure.savefig(part, format="png")


def run(config: DictConfig) -> None:
    """See the module."""
    loaded = load(list(config.results), config.runs)
    page = markdown(loaded)
    output = Path(config.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output '{output}': {error.strerror}; give a folder") from error
    content = {
        "rows": {label: {name: asdict(one) for name, one in r.summaries.items()} for label, r in loaded.items()},
        "differences": [asdict(test) for test in differences(loaded, definitions_of(loaded))],
        "warnings": warnings(loaded),
    }
    write_whole(output / "compare.json", (json.dumps(content, indent=1) + "\n").encode())
    write_whole(output / "compare.md", page.encode())
    plot(loaded, output / "compare.png")
    print(page)
    print(f"written to {output}: compare.md, compare.json, compare.png")


def _named(arguments: list[str]) -> list[str]:
    """Arguments without "=" are results."""
    paths = [argument for argument in arguments if "=" not in argument and not argument.startswith("-")]
    rest = [argument for argument in arguments if argument not in paths]
    return [f"results={json.dumps(paths, ensure_ascii=False)}", *rest] if paths else rest


if __name__ == "__main__":
    sys.argv[1:] = _named(sys.argv[1:])
    command("eval/compare", run)
