"""A surrogate of what deployments give: a Gaussian process whose distance counts the settings that differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune.deployment import Deployment
from autotune.space.vocabulary import flatten

__all__ = ["Floats", "Surrogate"]

Floats = NDArray[np.float64]

_WEIGHTS = (0.005, 0.02, 0.1, 0.5, 2.0)
"""How much a setting that differs may take two deployments apart; the likeliest is taken for each setting."""
_USUAL, _UNUSUAL = 0.1, 1.5
"""The weight that is expected, and by which factor of e it is usually off: few data say little of many settings."""
_NOISES = (0.003, 0.03, 0.1, 0.3, 1.0)
"""Variance of the noise over that of the values."""
_SWEEPS = 2
"""Rounds in which the weight of each setting is fitted, one after the other."""
_FAR = 2.0
"""Doublings between two numbers from which on they count as wholly different."""


@dataclass(frozen=True)
class _Scale:
    """How deployments become rows of numbers: one column for each setting."""

    paths: tuple[str, ...]
    names: tuple[dict[Any, float], ...]
    """For each path: a value that isn't a number → the number that stands for it."""

    def rows(self, deployments: Sequence[Deployment]) -> Floats:
        return np.array([self._row(deployment) for deployment in deployments], np.float64)

    def _row(self, deployment: Deployment) -> list[float]:
        values = flatten(deployment)
        return [self._cell(values.get(path), names) for path, names in zip(self.paths, self.names, strict=True)]

    @staticmethod
    def _cell(value: Any, names: dict[Any, float]) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return math.log2(1 + max(0.0, float(value))) / _FAR
        # Far from every number and from each other: any two names differ wholly, a missing value is a name.
        return names.setdefault(value, 1000.0 * (1 + len(names)))


@dataclass(frozen=True)
class _Fit:
    weights: Floats
    noise: float
    lower: Floats
    solved: Floats
    """The covariance's inverse times the values."""


class Surrogate:
    """Predicts the values of deployments from those that were measured."""

    def __init__(self, deployments: Sequence[Deployment], values: Sequence[float]) -> None:
        """Fit weights, noise and spread to measured values.

        Args:
            deployments: at least two, one for each value; what was measured twice is there twice.
            values: larger is better, finite.
        """
        paths = sorted({path for deployment in deployments for path in flatten(deployment)})
        self._scale = _Scale(tuple(paths), tuple({} for _ in paths))
        self._rows = self._scale.rows(deployments)
        targets = np.array(values, np.float64)
        self._mean, self._unit = float(targets.mean()), float(targets.std()) or 1.0
        self._target: Floats = (targets - self._mean) / self._unit
        self._apart = _apart(self._rows, self._rows)
        self._fit = self._fitted()
        self._spread = self._unit * math.sqrt(max(1e-12, float(self._target @ self._fit.solved)) / len(targets))

    def predict(self, deployments: Sequence[Deployment]) -> tuple[Floats, Floats]:
        """Mean and standard deviation, without the noise of a measurement, of the values of deployments: [n] each."""
        near = np.exp(-(_apart(self._scale.rows(deployments), self._rows) @ self._fit.weights))
        explained = np.linalg.solve(self._fit.lower, near.T)
        left = np.maximum(1 - np.sum(explained**2, axis=0), 1e-9)
        mean: Floats = self._mean + self._unit * (near @ self._fit.solved)
        return mean, self._spread * np.sqrt(left)

    def _fitted(self) -> _Fit:
        """The likeliest weights and noise, one setting after the other."""
        varied = [column for column in range(self._apart.shape[2]) if self._apart[:, :, column].any()]
        weights, noises = np.full(self._apart.shape[2], _USUAL), np.array(_NOISES)
        best = self._likeliest(weights[None], noises[1:2])
        for _ in range(_SWEEPS):
            for column in varied:
                changed = np.tile(best.weights, (len(_WEIGHTS), 1))
                changed[:, column] = _WEIGHTS
                best = self._likeliest(changed, np.full(len(_WEIGHTS), best.noise))
            best = self._likeliest(np.tile(best.weights, (len(noises), 1)), noises)
        return best

    def _likeliest(self, weights: Floats, noises: Floats) -> _Fit:
        """The likeliest of several choices of weights, [choices, settings], each with its noise: one call for all."""
        count = len(self._target)
        covariances = np.exp(-np.moveaxis(self._apart @ weights.T, 2, 0))
        covariances += (noises + 1e-6)[:, None, None] * np.eye(count)
        lowers = np.linalg.cholesky(covariances)
        halves = np.linalg.solve(lowers, np.broadcast_to(self._target[:, None], (len(weights), count, 1)))[:, :, 0]
        spreads = np.maximum(1e-12, np.sum(halves**2, axis=1) / count)
        likelihoods = -0.5 * count * np.log(spreads) - np.log(np.diagonal(lowers, axis1=1, axis2=2)).sum(axis=1)
        unusual = np.log(weights / _USUAL) / _UNUSUAL
        best = int(np.argmax(likelihoods - 0.5 * np.sum(unusual**2, axis=1)))
        solved = np.linalg.solve(lowers[best].T, halves[best])
        return _Fit(weights[best], float(noises[best]), lowers[best], solved)


def _apart(rows: Floats, rest: Floats) -> Floats:
    """[rows, others, settings]: 0 where a setting is the same, 1 where it differs, between them for near numbers."""
    apart: Floats = np.minimum(np.abs(rows[:, None, :] - rest[None, :, :]), 1.0)
    return apart
