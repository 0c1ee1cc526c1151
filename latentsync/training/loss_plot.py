"""Draw every logged loss of a run over its steps as one PNG."""

import csv
import math
from collections import defaultdict
from pathlib import Path

import lightning
import matplotlib
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # after the choice of the backend

from latentsync.work.files import written_whole

# What is logged beside losses and scores, and has no place in their plot.
BESIDE = ("gradients/", "lr-", "train/frames_per_second", "train/data_wait", "train/peak_memory_gb")
Series = dict[str, list[tuple[int, float]]]


class LossPlot(Callback):
    """At the end of training, plot what the CSV logger wrote into `path` (PNG). Does nothing without a CSV logger."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                logger.save()
                metrics = Path(logger.log_dir) / "metrics.csv"
                if metrics.is_file():
                    plot_metrics(read_metrics(metrics), self.path)


def read_metrics(path: Path) -> Series:
    """The numeric columns of a Lightning metrics.csv as name -> [(step, value)], without the weighted copies."""
    series: Series = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                if text and name not in ("step", "epoch") and not name.endswith("_weighted"):
                    value = float(text)
                    if math.isfinite(value):
                        series[name].append((int(row["step"]), value))
    return dict(series)


def plot_metrics(series: Series, path: Path) -> None:
    """One panel per quantity, training and validation in one panel; faint raw values under a running mean."""
    series = {name: points for name, points in series.items() if not name.startswith(BESIDE)}
    panels = sorted({name.partition("/")[2] or name for name in series})
    if not panels:
        return
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.5 * columns, 3 * rows), squeeze=False)
    for axis, panel in zip(axes.flat, panels):
        for name in sorted(series):
            if (name.partition("/")[2] or name) == panel:
                _draw(axis, name, series[name])
        axis.set_title(panel)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    figure.tight_layout()
    with written_whole(path) as part:
        figure.savefig(part, format="png", dpi=100)
    plt.close(figure)


def _draw(axis: plt.Axes, name: str, points: list[tuple[int, float]]) -> None:
    steps, values = zip(*points)
    if len(values) < 20:
        axis.plot(steps, values, marker="o", markersize=3, label=name)
        return
    line = axis.plot(steps, values, alpha=0.25)[0]
    mean, smooth = values[0], []
    for value in values:
        mean += 0.1 * (value - mean)
        smooth.append(mean)
    axis.plot(steps, smooth, color=line.get_color(), label=name)
