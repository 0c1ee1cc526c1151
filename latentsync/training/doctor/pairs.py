"""Checks of the pairs: how near are the negatives, and how many pairs does a step see?"""

import numpy as np

from latentsync.data.sample import BadSample
from latentsync.data.windows import draw_window
from latentsync.training.doctor.finding import Finding

NEAR = 5  # frames: lips that near are hardly another sound's
SMALL_BATCH, GOOD_BATCH = 256, 1024  # the paper: 128 sticks at 0.69, 256 converges, 1024 is best
DRAWS = 16  # a clip


def check_negatives(
    lengths: np.ndarray, num_frames: int, reference_distance: int | None, other_clips: float
) -> Finding:
    """Draw windows as training does, from clips of `lengths` frames each, and see how far apart the pairs lie."""
    generator = np.random.default_rng(0)
    distances = []
    for length in lengths.tolist():
        for _ in range(DRAWS):
            try:
                start, reference = draw_window(length, num_frames, generator, reference_distance)
            except BadSample:
                break
            distances.append(abs(start - reference))
    if not distances:
        return Finding("negatives", "bad", f"no clip is long enough for two windows of {num_frames} frames")
    drawn = np.array(distances)
    near, overlapping = float((drawn < NEAR).mean()), float((drawn < num_frames).mean())
    values = {"near": near, "overlapping": overlapping, "median_distance_frames": float(np.median(drawn))}
    figures = (
        f"{100 * overlapping:.0f} % overlap their positive, {100 * near:.0f} % begin less than {NEAR} frames from it, "
        f"{100 * other_clips:.0f} % are replaced by other clips"
    )
    if near * (1 - other_clips) > 0.05:
        return Finding("negatives", "suspicious", f"{figures}: give data.reference_distance={NEAR}", values)
    if overlapping * (1 - other_clips) > 0.6:
        text = f"{figures}: the clips are short; give longer ones or model.negatives_from_other_clips=0.5"
        return Finding("negatives", "suspicious", text, values)
    return Finding("negatives", "ok", figures, values)


def check_batch(batch_size: int, accumulated: int, ranks: int) -> Finding:
    """Pairs in one optimizer step."""
    pairs = batch_size * accumulated * ranks
    values = {"pairs_a_step": pairs}
    figures = f"{pairs} pairs a step ({batch_size} × {accumulated} accumulated × {ranks} ranks)"
    if pairs < SMALL_BATCH:
        text = f"{figures}: real speech wants {SMALL_BATCH} to {GOOD_BATCH}; raise trainer.accumulate_grad_batches"
        return Finding("batch", "suspicious", text, values)
    return Finding("batch", "ok", figures, values)
