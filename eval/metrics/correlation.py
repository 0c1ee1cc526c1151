"""Correlations of tracks, and what is left of one when a third track is held fixed."""

import numpy as np

_STILL = 1e-6


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two tracks (F,); 0 when one of them does not move: a mouth that never opens follows nothing."""
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(f"tracks must be (F,) of one length, not {first.shape} and {second.shape}")
    if first.std() < _STILL or second.std() < _STILL:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def partial_correlation(first: np.ndarray, second: np.ndarray, fixed: np.ndarray) -> float:
    """r of what is left of two tracks (F,) after the third's straight line is taken out of both:

        (r₁₂ − r₁₃ r₂₃) / √((1 − r₁₃²)(1 − r₂₃²))

    0 where nothing is left of one of them.
    """
    return correlation(_without(first, fixed), _without(second, fixed))


def _without(track: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """The residual of `track` on `fixed` and a constant; 0 where no more than rounding is left."""
    basis = np.stack([fixed, np.ones_like(fixed)], axis=1)
    residual = track - basis @ np.linalg.lstsq(basis, track, rcond=None)[0]
    return residual if residual.std() > 1e-6 * track.std() else np.zeros_like(track)


def delayed(track: np.ndarray, frames: int) -> np.ndarray:
    """`track` (F,) `frames` later (earlier if negative), NaN where nothing is known."""
    moved = np.full(len(track), np.nan)
    if frames >= 0:
        moved[frames:] = track[: len(track) - frames]
    else:
        moved[:frames] = track[-frames:]
    return moved
