"""Local search: which deployment around the leaders is most likely to be better, or should be measured once more."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from autotune.deployment import Deployment
from autotune.search.resolved_space import ResolvedSpace
from autotune.search.results import Candidate
from autotune.search.surrogate import Floats, Surrogate

__all__ = ["LocalSearch"]

LEADERS = 3
"""The best, whose neighbours are looked at, and those of each other format's best."""
COUPLED = 60
"""Moves of two settings at once that are drawn around each leader."""
AFAR = 40
"""Deployments that are drawn from all of the space."""
MOST_TRIALS = 5
"""Of one deployment."""
_BROKEN = 1.0
"""Constraint of what doesn't run, and the largest that counts: by how much something is ruled out says little."""


@dataclass(frozen=True)
class LocalSearch:
    """What is known, as two surrogates: of the score, and of the constraint that is broken most."""

    space: ResolvedSpace
    candidates: Sequence[Candidate]
    """What is measured, best first."""
    failed: Sequence[Deployment]
    """What didn't run."""

    def most_promising(
        self, unknown: Callable[[Deployment], bool], again: Callable[[Candidate], bool], generator: random.Random
    ) -> Deployment | None:
        """The deployment with the largest expected improvement times the probability that the goal allows it.

        Looked at are neighbours of the leaders, which differ from one of them in one setting or in two at once (fewer
        instances with more threads each are often better where either move alone is worse), some from afar, and the
        leaders themselves: a measurement is noisy, and whoever is about as good must be told apart. Each format has a
        leader: what suits one doesn't suit another, and a format is not slow because it was met with wrong settings.

        Args:
            unknown: whether a deployment would be measured for the first time.
            again: whether a candidate may be measured once more.
            generator: draws the coupled moves and those from afar, and breaks ties.

        Returns:
            None if nothing is measured that the goal allows, or nothing is left to be measured.
        """
        leaders = self._leaders()
        if not leaders or len(self.candidates) < 2:
            return None
        pool = self._pool([leader.deployment for leader in leaders], generator)
        chosen = [one for one in pool if unknown(one)]
        chosen += [one.deployment for one in leaders if again(one) and len(one.trials) < MOST_TRIALS]
        if not chosen:
            return None
        generator.shuffle(chosen)
        expected, spread = self._score().predict(chosen)
        best = max(leader.expected for leader in leaders)
        worth = _improvement(expected - best, spread) * self._allowed(chosen)
        return chosen[int(worth.argmax())]

    def _leaders(self) -> list[Candidate]:
        allowed = [candidate for candidate in self.candidates if candidate.feasible]
        formats = {one.deployment.format: one for one in reversed(allowed)}
        return list({one.deployment.key: one for one in [*allowed[:LEADERS], *formats.values()]}.values())

    def _pool(self, leaders: Sequence[Deployment], generator: random.Random) -> list[Deployment]:
        pool = [near for leader in leaders for near in self.space.neighbours(leader)]
        pool += [near for leader in leaders for near in self.space.two_steps(leader, COUPLED, generator)]
        pool += [self.space.sample(generator) for _ in range(AFAR)]
        return list({near.key: near for near in pool}.values())

    def _score(self) -> Surrogate:
        """Of everything that ran, allowed or not: int8 is as fast where its texts are too bad."""
        trials = [(one.deployment, value) for one in self.candidates for value in one.logs]
        return Surrogate([deployment for deployment, _ in trials], [value for _, value in trials])

    def _allowed(self, deployments: Sequence[Deployment]) -> Floats:
        """Probability that the goal allows each."""
        known = [(one.deployment, min(_BROKEN, one.constraint)) for one in self.candidates]
        known += [(one, _BROKEN) for one in self.failed]
        if all(value <= 0 for _, value in known):
            return np.ones(len(deployments))
        surrogate = Surrogate([deployment for deployment, _ in known], [value for _, value in known])
        expected, spread = surrogate.predict(deployments)
        return _normal(-expected / spread)


def _improvement(better: Floats, spread: Floats) -> Floats:
    """Expected value of max(0, x) for x normal around ``better``."""
    ratio = better / spread
    density = np.exp(-0.5 * ratio**2) / np.sqrt(2 * np.pi)
    improvement: Floats = spread * (ratio * _normal(ratio) + density)
    return improvement


def _normal(values: Floats) -> Floats:
    from scipy.stats import norm

    probabilities: Floats = norm.cdf(values)
    return probabilities
