"""The report of an evaluation: tables, a plot, and the videos side by side, worst first."""

import base64
import io
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import numpy as np

from eval.metrics.metric import Definition
from eval.results import GROUND_TRUTH, Results, VideoResult, cell, count_of, flat
from latentsync.work.files import write_whole

REPORT_NAME = "report.html"
# What the worst videos are told by, the first that is there.
_TELLING = ("sync_c", "mouth_r", "sync_confidence", "lmd", "lpips", "csim")


def write_report(results: Results, folder: Path, most: int = 40) -> Path:
    """FOLDER/report.html; videos are linked by relative paths, `most` of them at most."""
    template = files("eval").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    shown = [d for name, d in results.definitions.items() if name in results.summaries | results.truth_summaries]
    rows = {results.label: results.summaries, GROUND_TRUTH: results.truth_summaries}
    worst = next((results.definitions[name] for name in _TELLING if name in results.summaries), None)
    ordered = worst_first(results.videos, worst)
    page = environment.from_string(template).render(
        results=results,
        protocol=flat(results.protocol),
        shown=shown,
        counts={d.name: count_of(row[d.name].count for row in rows.values() if d.name in row) for d in shown},
        summary=[
            {"label": label, "cells": [cell(row.get(d.name), d.decimals) for d in shown]}
            for label, row in rows.items()
            if row
        ],
        plot=_plot(results),
        worst=worst,
        videos=[_shown(video, results.definitions) for video in ordered[:most]],
        left_out=max(0, len(ordered) - most),
    )
    write_whole(folder / REPORT_NAME, page.encode())
    return folder / REPORT_NAME


def worst_first(videos: list[VideoResult], by: Definition | None) -> list[VideoResult]:
    """Failed ones, then from bad to good, then those without a value."""

    def place(video: VideoResult) -> tuple[int, float]:
        if video.error is not None:
            return 0, 0.0
        if by is None or by.name not in video.values:
            return 2, 0.0
        return 1, video.values[by.name] * (-1 if by.better == "lower" else 1)

    return sorted(videos, key=place)


def _shown(video: VideoResult, definitions: dict[str, Definition]) -> dict[str, Any]:
    lines = [
        f"{definitions[name].title}: {value:.{definitions[name].decimals}f} {definitions[name].unit}".strip()
        for name, value in video.values.items()
    ]
    if video.without_face:
        lines.append(f"{video.without_face} of {video.frames} frames without a face")
    return {
        "name": video.name,
        "error": video.error,
        "video_address": None if video.video is None else quote(video.video),
        "reference_address": None if video.reference is None else quote(video.reference),
        "lines": lines,
    }


def _plot(results: Results) -> str | None:
    """All videos' values, a panel a metric, as a data: address."""
    from matplotlib.figure import Figure

    names = [name for name, d in results.definitions.items() if any(name in video.values for video in results.videos)]
    if not names:
        return None
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.0 * rows), dpi=80)
    for number, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, number)
        for videos, colour in ((results.truth, "#b8bec8"), (results.videos, "#4a78b5")):
            values = np.sort([video.values[name] for video in videos if name in video.values])
            axes.plot(np.linspace(0, 1, len(values)), values, "o", markersize=3, color=colour)
        axes.set_title(results.definitions[name].title + results.definitions[name].arrow, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.set_xticks([])
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
