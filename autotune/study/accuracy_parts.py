"""Accuracy as a sum of two parts: what an artifact's numbers lose, and what a way to cut loses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

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
        numbers, cuts = zip(*map(_parts, deployments), strict=True)
        known_numbers, known_cuts = zip(*map(_parts, self._known), strict=True)
        return _SPREAD**2 * (_all_near(numbers, known_numbers) + _all_near(cuts, known_cuts))


def _all_near(parts: Sequence[Part], known: Sequence[Part]) -> Floats:
    """[parts, known]; there are far fewer different ones than deployments, and each pair of those is compared once."""
    rows = {part: row for row, part in enumerate(dict.fromkeys(parts))}
    columns = {part: column for column, part in enumerate(dict.fromkeys(known))}
    near = np.array([[_near(part, other) for other in columns] for part in rows], np.float64)
    return near[np.ix_([rows[part] for part in parts], [columns[part] for part in known])]


@lru_cache(maxsize=16_384)
def _parts(deployment: Deployment) -> tuple[Part, Part]:
    """What its numbers and its cuts depend on."""
    values = flatten(deployment)
    numbers = tuple((name, values.get(name)) for name in _NUMBERS)
    return numbers, tuple(sorted((name, value) for name, value in values.items() if name.startswith("chunking.")))


@lru_cache(maxsize=65_536)  # a search asks for the same pairs at every step
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
