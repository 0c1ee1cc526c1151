"""The doctor's findings as one picture: offsets, where the sound shows, the batch learnt by heart."""

from collections import Counter

import matplotlib.figure
import numpy as np

from latentsync.training.doctor.clips import GRID, MAX_OFFSET, ClipCoupling, Peak, coupling_map


def picture(clips: list[ClipCoupling], curves: dict[str, list[float]]) -> "matplotlib.figure.Figure":
    """Three panels: histogram of offsets, map of r² with the sound, loss on one batch."""
    figure = matplotlib.figure.Figure(figsize=(11, 3.4), layout="constrained")
    offsets, mouth, learning = figure.subplots(1, 3)
    counts = Counter(Peak.of(clip.r_squared).offset for clip in clips)
    lags = np.arange(-MAX_OFFSET, MAX_OFFSET + 1)
    offsets.bar(lags, [counts[int(lag)] for lag in lags])
    offsets.set(xlabel="lips after their sound, frames", ylabel="clips", title="Offset of the clips")
    image = mouth.imshow(coupling_map(clips), cmap="magma", vmin=0)
    mouth.axhline(GRID / 2 - 0.5, color="white", linewidth=0.8, linestyle="--")
    mouth.set(xticks=[], yticks=[], title="What moves with the sound (r²)")
    figure.colorbar(image, ax=mouth)
    for name, losses in curves.items():
        learning.plot(losses, label=name)
    learning.axhline(0.693, color="black", linewidth=0.8, linestyle="--")
    learning.set(xlabel="step", ylabel="loss", title="One batch by heart (dashed: a coin)", ylim=(0, None))
    learning.legend()
    return figure
