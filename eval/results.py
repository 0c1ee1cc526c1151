"""Results of an evaluation: means with bootstrap intervals, as JSON, CSV and a Markdown table for a paper."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eval.metrics.metric import Definition
from latentsync.errors import UserError
from latentsync.work.files import write_whole

RESULTS_VERSION = 2
GROUND_TRUTH = "ground truth"
_RESAMPLES, _SEED = 2000, 0


@dataclass(frozen=True)
class Summary:
    """Of one metric over videos: mean, bounds of its 95 % interval (None for a single video), videos that have it."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass
class VideoResult:
    """One video. values: metric -> number; missing: metric -> why there is none; error: why nothing was computed.

    video, reference: paths relative to the results' folder, for the report; frames: looked at. clip: what tells the
    clip from others of its name, "" where there is no reference; speech: the clip whose speech it got, "" = not known.
    """

    name: str
    values: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    video: str | None = None
    reference: str | None = None
    frames: int = 0
    without_face: int = 0
    clip: str = ""
    speech: str = ""


@dataclass
class Results:
    """What one evaluation gave. label: of the model; protocol: all that figures depend on; definitions: of the metrics;
    not_computed: group -> why; summaries, truth_summaries: of the model and the ground truth; unmatched: left out;
    warnings: what to know before quoting a figure. folder: where it was read from."""

    label: str
    protocol: dict[str, Any]
    definitions: dict[str, Definition]
    not_computed: dict[str, str]
    videos: list[VideoResult]
    truth: list[VideoResult]
    summaries: dict[str, Summary]
    truth_summaries: dict[str, Summary]
    unmatched: dict[str, list[str]]
    warnings: list[str] = field(default_factory=list)
    folder: Path | None = None

    def write(self, folder: Path) -> None:
        """results.json, results.csv, results.md; each appears when it is complete."""
        content = {"version": RESULTS_VERSION, **asdict(self)}
        del content["folder"]
        text = json.dumps(_plain(content), indent=1, allow_nan=False, ensure_ascii=False)
        write_whole(folder / "results.json", (text + "\n").encode())
        write_whole(folder / "results.csv", self.csv().encode())
        write_whole(folder / "results.md", self.markdown().encode())

    def csv(self) -> str:
        """A line for each video and each true video."""
        names = [name for name, definition in self.definitions.items() if not definition.of_set]
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "name", "frames", "without_face", *names, "error"])
        for row, videos in ((self.label, self.videos), (GROUND_TRUTH, self.truth)):
            for video in videos:
                values = [video.values.get(name, "") for name in names]
                writer.writerow([row, video.name, video.frames, video.without_face, *values, video.error or ""])
        return file.getvalue()

    def markdown(self) -> str:
        """The table, what was not computed and why, and the protocol."""
        rows = {self.label: self.summaries, GROUND_TRUTH: self.truth_summaries}
        lines = [table(rows, self.definitions, {}), ""]
        lines += [f"Not computed: {name}: {reason}." for name, reason in self.not_computed.items()]
        failed = [video for video in self.videos if video.error]
        lines += (
            [f"{len(failed)} of {len(self.videos)} videos failed; their reasons are in results.csv."] if failed else []
        )
        lines += [f"Warning: {text}." for text in self.warnings]
        lines += ["Mean and 95 % interval (bootstrap over the n videos).", ""]
        return "\n".join([*lines, *(f"- {name}: {value}" for name, value in flat(self.protocol).items()), ""])


def flat(protocol: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The settings of a protocol with groups as dotted names: "generation.seed"."""
    found: dict[str, Any] = {}
    for name, value in protocol.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return found


def summarise(videos: Sequence[VideoResult], definitions: Mapping[str, Definition]) -> dict[str, Summary]:
    """Means over the videos that have a value."""
    found = {}
    for name, definition in definitions.items():
        values = [video.values[name] for video in videos if name in video.values]
        if values and not definition.of_set:
            low, high = bootstrap_interval(np.array(values))
            found[name] = Summary(float(np.mean(values)), low, high, len(values))
    return found


def bootstrap_interval(
    values: np.ndarray, resamples: int = _RESAMPLES, seed: int = _SEED
) -> tuple[float | None, float | None]:
    """95 % percentile interval of the mean of values (N,), resampled with replacement (Efron 1979). One value has
    none."""
    if len(values) < 2:
        return None, None
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def table(
    rows: Mapping[str, Mapping[str, Summary]], definitions: Mapping[str, Definition], best: Mapping[str, str]
) -> str:
    """Markdown: a row for each label, a column for each metric that any row has, with the number of videos in its head.
    best: metric -> label in bold. Below it, what is to be said of its metrics."""
    shown = [name for name in definitions if any(name in row for row in rows.values())]
    titles = [_head(definitions[name], (row[name].count for row in rows.values() if name in row)) for name in shown]
    lines = ["| | " + " | ".join(titles) + " |", "| --- " * (len(shown) + 1) + "|"]
    for label, row in rows.items():
        cells = [cell(row.get(name), definitions[name].decimals, best.get(name) == label) for name in shown]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    notes = [f"{definitions[name].title}: {definitions[name].note}." for name in shown if definitions[name].note]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _head(definition: Definition, counts: Iterable[int]) -> str:
    unit = f" ({definition.unit})" if definition.unit else ""
    return f"{definition.title}{unit}{definition.arrow} (n = {count_of(counts)})"


def count_of(counts: Iterable[int]) -> str:
    """Numbers of videos for a head: "4", or "3 to 4" where rows differ."""
    known = sorted(set(counts))
    return str(known[0]) if len(known) == 1 else f"{known[0]} to {known[-1]}"


def cell(summary: Summary | None, decimals: int, bold: bool = False) -> str:
    """A summary for people."""
    if summary is None:
        return "–"
    text = f"{summary.mean:.{decimals}f}"
    text = f"**{text}**" if bold else text
    if summary.low is None or summary.high is None:
        return text
    return f"{text} [{summary.low:.{decimals}f}, {summary.high:.{decimals}f}]"


def read_results(path: str | Path) -> Results:
    """A results.json, or the folder that holds it. Raises UserError."""
    path = Path(path)
    path = path / "results.json" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"results '{path}': no such file; give a results.json of eval.evaluate, or its folder")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("version") != RESULTS_VERSION:
            raise ValueError("of another version: evaluate anew")
        content["definitions"] = {name: Definition(**given) for name, given in content["definitions"].items()}
        for name in ("videos", "truth"):
            content[name] = [VideoResult(**given) for given in content[name]]
        for name in ("summaries", "truth_summaries"):
            content[name] = {metric: Summary(**given) for metric, given in content[name].items()}
        return Results(**content, folder=path.parent)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"results '{path}': not a results.json of eval.evaluate ({error})") from error


def _plain(value: Any) -> Any:
    """JSON knows neither infinity nor "not a number": such values are left as words."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
