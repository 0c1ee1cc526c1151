"""The report of a run as one HTML file: `python -m data_prep.report OUTPUT`; `data_prep.prepare` writes it at its end.

Pictures are inside the file, a bounded number of them: the file stays small for any number of candidates.
"""

from __future__ import annotations

import base64
import io
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from omegaconf import DictConfig

from configs.compose import command, name_first_argument
from data_prep.manifest import ACCEPTED, COLUMNS, FAILED, REJECTED, STAGES, Limits, read_limits, read_manifest
from data_prep.split import PARTS
from latentsync import __version__
from latentsync.errors import UserError
from latentsync.work.files import write_whole

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

REPORT_NAME = "report.html"
_BINS = 40
_ACCEPTED, _OTHER, _LIMIT = "#4a78b5", "#b8bec8", "#c62828"


def write_report(output: Path, examples: int = 12) -> Path:
    """Write OUTPUT/report.html from OUTPUT/manifest.parquet and the thumbnails; `examples` for each reason at most.

    Raises UserError where there is no manifest or the report cannot be written.
    """
    page = render(read_manifest(output), read_limits(output), output, examples)
    try:
        write_whole(output / REPORT_NAME, page)
    except OSError as error:
        raise UserError(f"report '{output / REPORT_NAME}': cannot be written ({error.strerror})") from error
    return output / REPORT_NAME


def render(manifest: pandas.DataFrame, limits: Limits, output: Path, examples: int = 12) -> str:
    """The page. manifest: see `manifest.COLUMNS`; output: the folder below which thumbnails lie."""
    template = files("data_prep").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    judged = manifest[manifest["fate"] != FAILED]
    accepted = manifest[manifest["fate"] == ACCEPTED]
    return environment.from_string(template).render(
        title=output.resolve().name,
        version=__version__,
        sources=manifest["source"].nunique(),
        candidates=_amount(judged),
        accepted=_amount(accepted),
        failed=_amount(manifest[manifest["fate"] == FAILED]),
        unchecked=_amount(accepted[accepted["offset_frames"].isna()]),
        parts=_parts(accepted),
        funnel=_funnel(judged),
        reasons=_reasons(manifest),
        offsets=offset_histograms(manifest["offset_frames"], manifest["offset_after"]),
        histograms=_histograms(judged, limits),
        examples=_examples(manifest, output, examples),
    )


def _amount(rows: pandas.DataFrame) -> dict[str, Any]:
    minutes = float((rows["end"] - rows["start"]).fillna(0).sum()) / 60
    return {"count": len(rows), "length": f"{minutes / 60:.1f} h" if minutes >= 60 else f"{minutes:.1f} min"}


def _parts(accepted: pandas.DataFrame) -> list[dict[str, Any]]:
    """What each part of a split got; none without one."""
    groups = [(name, accepted[accepted["split"] == name]) for name in PARTS]
    made = [{"name": name, "sources": rows["source"].nunique(), **_amount(rows)} for name, rows in groups]
    return made if any(part["count"] for part in made) else []


def _funnel(judged: pandas.DataFrame) -> list[dict[str, Any]]:
    """A row for each stage: what reached it, what it turned down, what is left."""
    turned_down = judged["stage"].map({name: place for place, name in enumerate(STAGES)}).fillna(len(STAGES))
    stages = []
    for place, name in enumerate(STAGES):
        left = judged[turned_down > place]
        stages.append(
            {
                "name": name,
                "reached": _amount(judged[turned_down >= place]),
                "lost": _amount(judged[turned_down == place]),
                "left": _amount(left),
                "share": round(100 * len(left) / max(1, len(judged)), 1),
            }
        )
    return stages


def _reasons(manifest: pandas.DataFrame) -> list[dict[str, Any]]:
    groups = manifest[manifest["fate"] != ACCEPTED].groupby(["reason", "stage"], dropna=False)
    rows = [
        {"name": reason, "stage": stage if isinstance(stage, str) else "", **_amount(group)}
        for (reason, stage), group in groups
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["name"]))


def _histograms(judged: pandas.DataFrame, limits: Limits) -> list[dict[str, str]]:
    """One for each measurement that anything has, in the order of the stages."""
    accepted = (judged["fate"] == ACCEPTED).to_numpy()
    made = []
    for name, column in COLUMNS.items():
        if column.kind == "text" or not name.startswith(tuple(f"{stage}_" for stage in STAGES)):
            continue
        values = judged[name].to_numpy(dtype=np.float64)
        if np.isfinite(values).any():
            picture = histogram(name, values, accepted, limits.get(name, (None, None)))
            made.append({"column": name, "meaning": column.meaning, "picture": picture})
    return made


def _examples(manifest: pandas.DataFrame, output: Path, count: int) -> list[dict[str, Any]]:
    """Accepted ones first, then those of each reason, the frequent ones first."""
    groups = [("accepted", manifest[manifest["fate"] == ACCEPTED])]
    rejected = manifest[manifest["fate"] == REJECTED]
    frequent = rejected["reason"].value_counts()
    groups += [(str(reason), rejected[rejected["reason"] == reason]) for reason in frequent.index]
    found = [
        {"name": name, "count": len(rows), "pictures": _pictures(rows[rows["thumbnail"].notna()], output, count)}
        for name, rows in groups
    ]
    return [group for group in found if group["pictures"]]


def _pictures(rows: pandas.DataFrame, output: Path, count: int) -> list[dict[str, Any]]:
    """Thumbnails at even distances; those whose file is gone are left out."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))
    pictures = []
    for row in rows.iloc[chosen].to_dict("records"):
        path = output / row["thumbnail"]
        if path.is_file():
            data = base64.b64encode(path.read_bytes()).decode()
            detail = row["detail"] if isinstance(row["detail"], str) else ""  # what is missing is not a number
            about = {"time": f"{row['start']:.1f}", "source": row["source"], "detail": detail}
            pictures.append({"data": f"data:image/jpeg;base64,{data}", **about})
    return pictures


def histogram(name: str, values: np.ndarray, accepted: np.ndarray, limit: tuple[float | None, float | None]) -> str:
    """values (N,), those not finite are left out; accepted (N,) bool, drawn in blue; limit: (least, greatest).

    Outliers beyond the outer half percents are counted in the outermost bars. Returns a data: address.
    """
    from matplotlib.figure import Figure

    finite = np.isfinite(values)
    values, accepted = values[finite], accepted[finite]
    bounds = [*np.quantile(values, [0.005, 0.995]), *(bound for bound in limit if bound is not None)]
    low, high = min(bounds), max(bounds)
    if low == high:
        low, high = low - 0.5, high + 0.5
    margin = 0.03 * (high - low)
    edges = np.linspace(low - margin, high + margin, _BINS + 1)
    inside = values.clip(edges[0], edges[-1])
    figure = Figure(figsize=(3.3, 1.9), dpi=80)
    axes = figure.add_subplot()
    axes.hist([inside[accepted], inside[~accepted]], bins=edges.tolist(), stacked=True, color=[_ACCEPTED, _OTHER])
    for bound, outer in zip(limit, (edges[0], edges[-1])):
        if bound is not None:
            axes.axvline(bound, color=_LIMIT, linewidth=1.2)
            axes.axvspan(min(bound, outer), max(bound, outer), color=_LIMIT, alpha=0.08)
    axes.set_title(name, fontsize=9)
    return _png(figure)


def offset_histograms(before: pandas.Series, after: pandas.Series) -> str | None:
    """Offsets in frames as found and after their correction, side by side; None where none was measured."""
    from matplotlib.figure import Figure

    if before.notna().sum() == 0:
        return None
    figure = Figure(figsize=(8, 2.4), dpi=80)
    greatest = int(max(before.abs().max(), after.abs().max(), 3))
    edges = (np.arange(-greatest - 1, greatest + 1) + 0.5).tolist()
    for place, (title, values) in enumerate({"as found": before, "corrected": after}.items(), start=1):
        axes = figure.add_subplot(1, 2, place)
        axes.hist(values.dropna(), bins=edges, color=_ACCEPTED)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("frames", fontsize=8)
    return _png(figure)


def _png(figure: Figure) -> str:
    from matplotlib.ticker import MaxNLocator

    for axes in figure.axes:
        axes.tick_params(labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def run(config: DictConfig) -> None:
    """`python -m data_prep.report OUTPUT`"""
    if not isinstance(config.examples, int) or not 0 <= config.examples <= 200:
        raise UserError(f"examples={config.examples}: give 0 to 200")
    print(f"report: {write_report(Path(config.output), config.examples)}")


if __name__ == "__main__":
    sys.argv[1:] = name_first_argument("output", sys.argv[1:])
    command("data_prep/report", run)
