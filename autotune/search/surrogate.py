"""A surrogate of the score: a Gaussian process whose distance counts the settings that differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.deployment import Deployment
from autotune.search.vocabulary import flatten

__all__ = ["Surrogate"]

Floats = NDArray[np.float64]

_LENGTHS = (1.0, 2.0, 4.0, 8.0)
"""Differing settings over which values stop resembling each other; the likeliest is taken."""
_NOISES = (0.003, 0.03, 0.2)
"""Variance of the noise, as a share of the values' variance."""
_FAR = 2.0
"""Numbers count as wholly different when they are a factor of four apart."""


@dataclass(frozen=True)
class _Scale:
    """How deployments become rows: one column a setting."""

    paths: tuple[str, ...]
    names: tuple[dict[Any, float], ...]
    """Per path: what isn't a number → its index."""

    def row(self, deployment: Deployment) -> list[float]:
        values = flatten(deployment)
        return [self._cell(values.get(path), known) for path, known in zip(self.paths, self.names, strict=True)]

    @staticmethod
    def _cell(value: Any, known: dict[Any, float]) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return math.log2(1 + max(0.0, float(value))) / _FAR
        # Far from every number and from each other: any two names differ wholly, a missing value is a name.
        return known.setdefault(value, 1000.0 * (1 + len(known)))


class Surrogate:
    """Predicts values of deployments from those that are known."""

    def __init__(self, deployments: Sequence[Deployment], values: Sequence[float]) -> None:
        """Fit.

        Args:
            deployments: at least two.
            values: one each, larger is better, finite.
        """
        paths = sorted({path for deployment in deployments for path in flatten(deployment)})
        self._scale = _Scale(tuple(paths), tuple({} for _ in paths))
        self._rows = np.array([self._scale.row(deployment) for deployment in deployments], np.float64)
        known = np.array(values, np.float64)
        self._mean, self._spread = float(known.mean()), float(known.std()) or 1.0
        target = (known - self._mean) / self._spread
        apart = self._distances(self._rows)
        fits = [_fit(apart, target, length, noise) for length in _LENGTHS for noise in _NOISES]
        self._fit = max(fits, key=lambda fit: fit.likelihood)

    def predict(self, deployments: Sequence[Deployment]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the values of ``deployments``, [n] each."""
        rows = np.array([self._scale.row(deployment) for deployment in deployments], np.float64)
        near = np.exp(-self._distances(rows) / self._fit.length)
        solved = np.linalg.solve(self._fit.lower, near.T)
        variance = np.maximum(1 - np.sum(solved**2, axis=0), 1e-9)
        return self._mean + self._spread * (near @ self._fit.weights), self._spread * np.sqrt(variance)

    def _distances(self, rows: Floats) -> Floats:
        """[n, known]: settings that differ, numbers by how much."""
        apart: Floats = np.minimum(np.abs(rows[:, None, :] - self._rows[None, :, :]), 1.0).sum(axis=2)
        return apart


@dataclass(frozen=True)
class _Fit:
    length: float
    lower: Floats
    weights: Floats
    likelihood: float


def _fit(apart: Floats, target: Floats, length: float, noise: float) -> _Fit:
    covariance: Floats = np.exp(-apart / length) + noise * np.eye(len(target))
    lower: Floats = np.linalg.cholesky(covariance).astype(np.float64)
    weights: Floats = np.linalg.solve(lower.T, np.linalg.solve(lower, target)).astype(np.float64)
    likelihood = -0.5 * float(target @ weights) - float(np.log(np.diag(lower)).sum())
    return _Fit(length, lower, weights, likelihood)
