"""Small histograms as PNG inside an HTML page."""

import base64
import io

import numpy as np
import pandas
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_BINS = 40
_ACCEPTED, _OTHER, _LIMIT = "#4a78b5", "#b8bec8", "#c62828"


def histogram(name: str, values: np.ndarray, accepted: np.ndarray, limit: tuple[float | None, float | None]) -> str:
    """values (N,), those not finite are left out; accepted (N,) bool, drawn in blue; limit: (least, greatest).

    Outliers beyond the outer half percents are counted in the outermost bars. Returns a data: address.
    """
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
    for axes in figure.axes:
        axes.tick_params(labelsize=7)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
