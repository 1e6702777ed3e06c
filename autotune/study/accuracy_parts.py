"""Accuracy as a sum of two parts: what an artifact's numbers lose, and what a way to cut loses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.deployment import Deployment
from autotune.space.vocabulary import flatten
from autotune.study.surrogate import Floats

__all__ = ["AccuracyParts"]

_NUMBERS = ("format", "weights", "fp32_share", "session_options.precision", "session_options.inference_precision")
"""Settings by which an artifact's numbers differ; graphs, threads and engines give the same texts but for rounding."""
_WEIGHT = 0.7
"""How far a setting that differs takes two artifacts, or two ways to cut, apart."""
_SPREAD = 2.0
"""Standard deviation of each part before anything is heard, in multiples of the loss that is allowed."""
_NOISE = 0.7
"""Of what a trial's share of the hearing says."""
_OCTAVE = 2.0
"""Doublings of a length from which on it counts as another."""

Part = tuple[tuple[str, object], ...]


class AccuracyParts:
    """Predicts the loss of deployments from those that were heard, in multiples of what is allowed."""

    def __init__(self, deployments: Sequence[Deployment], losses: Sequence[float]) -> None:
        """Learn from what was heard.

        Args:
            deployments: whose texts were judged; none is allowed.
            losses: of each, over the allowance: 1 is just allowed.
        """
        self._known = list(deployments)
        self._solved: Floats = np.zeros(0)
        if self._known:
            covariance = self._alike(self._known) + _NOISE**2 * np.eye(len(self._known))
            self._lower = np.linalg.cholesky(covariance)
            half = np.linalg.solve(self._lower, np.array(losses, np.float64))
            self._solved = np.linalg.solve(self._lower.T, half)

    def predict(self, deployments: Sequence[Deployment]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the losses: [n] each."""
        prior = np.full(len(deployments), 2 * _SPREAD**2)
        if not self._known:
            return np.zeros(len(deployments)), np.sqrt(prior)
        near = self._alike(deployments)
        explained = np.linalg.solve(self._lower, near.T)
        return near @ self._solved, np.sqrt(np.maximum(prior - np.sum(explained**2, axis=0), 1e-9))

    def _alike(self, deployments: Sequence[Deployment]) -> Floats:
        """Covariances of the sums: [deployments, known]."""
        kinds = [_parts(one) for one in deployments]
        known = [_parts(one) for one in self._known]
        rows = [[_near(own[0], other[0]) + _near(own[1], other[1]) for other in known] for own in kinds]
        return _SPREAD**2 * np.array(rows, np.float64)


def _parts(deployment: Deployment) -> tuple[Part, Part]:
    """What its numbers and its cuts depend on."""
    values = flatten(deployment)
    numbers = tuple((name, values.get(name)) for name in _NUMBERS)
    return numbers, tuple(sorted((name, value) for name, value in values.items() if name.startswith("chunking.")))


def _near(one: Part, other: Part) -> float:
    values, others = dict(one), dict(other)
    apart = sum(_apart(values.get(name), others.get(name)) for name in {*values, *others})
    return float(np.exp(-_WEIGHT * apart))


def _apart(one: object, other: object) -> float:
    if one == other:
        return 0.0
    numbers = [value for value in (one, other) if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < 2:
        return 1.0
    return min(1.0, abs(float(np.log2(1 + numbers[0]) - np.log2(1 + numbers[1]))) / _OCTAVE)
