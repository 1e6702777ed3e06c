"""A surrogate of what deployments give: a Gaussian process whose distance counts the settings that differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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


class _Names(dict[Any, float]):
    """A setting's values that aren't numbers → the number that stands for each; a missing setting (None) is one."""

    def __missing__(self, value: Any) -> float:
        # Far from every number and from each other: any two names differ wholly.
        self[value] = number = 1000.0 * (1 + len(self))
        return number


@dataclass(frozen=True)
class _Scale:
    """How deployments become rows of numbers: one column for each setting."""

    paths: tuple[str, ...]
    names: tuple[_Names, ...]
    """One for each path."""

    def rows(self, deployments: Sequence[Deployment]) -> Floats:
        return np.array([self._row(deployment) for deployment in deployments], np.float64)

    def _row(self, deployment: Deployment) -> list[float]:
        values = map(_settings(deployment).get, self.paths)
        return [
            value if type(value) is float else names[value] for value, names in zip(values, self.names, strict=True)
        ]


@lru_cache(maxsize=16_384)  # every surrogate of a study is asked for the same few thousand
def _settings(deployment: Deployment) -> dict[str, Any]:
    """Path → the number that a number becomes, always a float, or the name as it is, which never is one."""
    return {
        path: math.log2(1 + max(0.0, float(value))) / _FAR
        if isinstance(value, int | float) and not isinstance(value, bool)
        else value
        for path, value in flatten(deployment).items()
    }


@dataclass(frozen=True)
class _Fit:
    weights: Floats
    noise: float
    lower: Floats
    """Cholesky's factor of the covariance."""
    half: Floats
    """Its inverse times the values."""


class Surrogate:
    """Predicts the values of deployments from those that were measured."""

    def __init__(self, deployments: Sequence[Deployment], values: Sequence[float]) -> None:
        """Fit weights, noise and spread to measured values.

        Args:
            deployments: at least two, one for each value; what was measured twice is there twice.
            values: larger is better, finite.
        """
        paths = sorted({path for deployment in deployments for path in flatten(deployment)})
        self._scale = _Scale(tuple(paths), tuple(_Names() for _ in paths))
        self._rows = self._scale.rows(deployments)
        targets = np.array(values, np.float64)
        self._mean, self._unit = float(targets.mean()), float(targets.std()) or 1.0
        self._target: Floats = (targets - self._mean) / self._unit
        # Each pair once, and the settings that differ in some: what is the same everywhere takes nothing apart.
        self._pairs = np.tril_indices(len(targets), -1)
        apart = np.minimum(np.abs(self._rows[self._pairs[0]] - self._rows[self._pairs[1]]), 1.0)
        self._varied = np.flatnonzero(apart.any(axis=0))
        self._apart: Floats = apart[:, self._varied]
        self._fit = self._fitted()
        self._solved = np.linalg.solve(self._fit.lower.T, self._fit.half)
        self._spread = self._unit * math.sqrt(max(1e-12, float(self._target @ self._solved)) / len(targets))

    def predict(self, deployments: Sequence[Deployment]) -> tuple[Floats, Floats]:
        """Mean and standard deviation, without the noise of a measurement, of the values of deployments: [n] each."""
        near = np.exp(-(_apart(self._scale.rows(deployments), self._rows) @ self._fit.weights))
        explained = np.linalg.solve(self._fit.lower, near.T)
        left = np.maximum(1 - np.sum(explained**2, axis=0), 1e-9)
        mean: Floats = self._mean + self._unit * (near @ self._solved)
        return mean, self._spread * np.sqrt(left)

    def _fitted(self) -> _Fit:
        """The likeliest weights and noise, one setting after the other."""
        weights, noises = np.full(self._rows.shape[1], _USUAL), np.array(_NOISES)
        best = self._likeliest(weights[None], noises[1:2])
        for _ in range(_SWEEPS):
            for column in self._varied:
                changed = np.tile(best.weights, (len(_WEIGHTS), 1))
                changed[:, column] = _WEIGHTS
                best = self._likeliest(changed, np.full(len(_WEIGHTS), best.noise))
            best = self._likeliest(np.tile(best.weights, (len(noises), 1)), noises)
        return best

    def _likeliest(self, weights: Floats, noises: Floats) -> _Fit:
        """The likeliest of several choices of weights, [choices, settings], each with its noise: one call for all."""
        count = len(self._target)
        bordered = np.zeros((len(weights), count + 1, count + 1))
        # The lower triangle alone is read.
        bordered[:, *self._pairs] = np.exp(-(weights[:, self._varied] @ self._apart.T))
        bordered[:, np.arange(count), np.arange(count)] = (1 + 1e-6 + noises)[:, None]
        # With the values as its last row, Cholesky's factor has the factor's inverse times them there: nothing is left
        # to solve. The corner only has to be large enough for there to be a factor.
        bordered[:, count, :count] = self._target
        bordered[:, count, count] = 1 + 2 * float(self._target @ self._target) / noises
        factors = np.linalg.cholesky(bordered)
        lowers, halves = factors[:, :count, :count], factors[:, count, :count]
        spreads = np.maximum(1e-12, np.sum(halves**2, axis=1) / count)
        likelihoods = -0.5 * count * np.log(spreads) - np.log(np.diagonal(lowers, axis1=1, axis2=2)).sum(axis=1)
        unusual = np.log(weights / _USUAL) / _UNUSUAL
        best = int(np.argmax(likelihoods - 0.5 * np.sum(unusual**2, axis=1)))
        return _Fit(weights[best], float(noises[best]), lowers[best], halves[best])


def _apart(rows: Floats, rest: Floats) -> Floats:
    """[rows, others, settings]: 0 where a setting is the same, 1 where it differs, between them for near numbers."""
    apart: Floats = np.minimum(np.abs(rows[:, None, :] - rest[None, :, :]), 1.0)
    return apart
