"""The Fréchet distance of two sets of features, of which moments alone are kept."""

import numpy as np


class Moments:
    """Mean and covariance of features that come in pieces, in double precision."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self._sum = np.zeros(size)
        self._products = np.zeros((size, size))

    def add(self, features: np.ndarray) -> None:
        """features: (n, D)."""
        features = features.astype(np.float64)
        self.count += len(features)
        self._sum += features.sum(axis=0)
        self._products += features.T @ features

    @property
    def mean(self) -> np.ndarray:
        """(D,)"""
        return self._sum / self.count

    @property
    def covariance(self) -> np.ndarray:
        """(D, D), unbiased. Raises ValueError for fewer than two features."""
        if self.count < 2:
            raise ValueError("a covariance needs at least two features")
        return (self._products - np.outer(self._sum, self._sum) / self.count) / (self.count - 1)


def frechet_distance(one: Moments, other: Moments) -> float:
    """|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), not below 0 (Dowson and Landau 1982).

    The trace of the root is the sum of the roots of the eigenvalues of Σ₁^½ Σ₂ Σ₁^½, which is symmetric: no complex
    parts have to be thrown away.
    """
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ other.covariance @ root)
    trace = np.trace(one.covariance) + np.trace(other.covariance) - 2 * np.sqrt(inner.clip(0)).sum()
    return max(0.0, float(((one.mean - other.mean) ** 2).sum() + trace))
