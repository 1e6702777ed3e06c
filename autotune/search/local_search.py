"""Local search: the neighbour of a leader that a surrogate expects most of."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from autotune.deployment import Deployment
from autotune.search.resolved_space import ResolvedSpace
from autotune.search.results import Candidate
from autotune.search.surrogate import Surrogate

__all__ = ["promising_neighbour"]

LEADERS = 3
"""Whose neighbours are looked at."""
COUPLED = 60
"""Moves of two settings at once that are drawn around the first leader."""
BOLDNESS = 1.0
"""Standard deviations that are added to the expected value."""
_CLEARLY_WORSE = math.log(5)
"""Values further below the best than this teach no more than that they are bad."""


def promising_neighbour(
    space: ResolvedSpace,
    candidates: Sequence[Candidate],
    failed: Sequence[Deployment],
    known: Callable[[Deployment], bool],
    generator: random.Random,
) -> Deployment | None:
    """The unknown neighbour of the leaders with the best expected value plus one standard deviation.

    Neighbours differ from a leader in one setting, or in two at once: fewer instances with more threads each are often
    better where either move alone is worse.

    Args:
        space: what may be suggested.
        candidates: what is measured, best first.
        failed: what didn't run; as bad as the worst.
        known: whether a deployment needs no measuring.
        generator: draws the coupled moves, and breaks ties.

    Returns:
        None if nothing is measured that the goal allows, or every neighbour is known.
    """
    leaders = [candidate.deployment for candidate in candidates if candidate.feasible][:LEADERS]
    if not leaders or len(candidates) + len(failed) < 2:
        return None
    pool = [near for leader in leaders for near in space.neighbours(leader)]
    pool += space.two_steps(leaders[0], COUPLED, generator)
    unknown = list({near.key: near for near in pool if not known(near)}.values())
    if not unknown:
        return None
    generator.shuffle(unknown)
    deployments, values = _known_values(candidates, failed)
    expected, spread = Surrogate(deployments, values).predict(unknown)
    return unknown[int((expected + BOLDNESS * spread).argmax())]


def _known_values(
    candidates: Sequence[Candidate], failed: Sequence[Deployment]
) -> tuple[list[Deployment], list[float]]:
    best = max(math.log(candidate.relative) for candidate in candidates if candidate.feasible)
    floor = best - _CLEARLY_WORSE
    values = [max(floor, math.log(item.relative)) if item.feasible else floor for item in candidates]
    worst = min(values)
    return [item.deployment for item in candidates] + list(failed), values + [worst] * len(failed)
