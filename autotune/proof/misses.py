"""The nearest miss: of what keeps no limit, what comes closest, by how much it fails, and which constraint binds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autotune.accuracy import describe_accuracy
from autotune.deployment import Deployment
from autotune.errors import InfeasibleSloError
from autotune.proof.comparison import Comparison, Finalist
from autotune.study.candidates import Candidate, StudyResult
from autotune.study.goal import Goal, Limit

__all__ = ["check_admissible", "check_feasible"]

_NAMES = {"p95_latency_s": "p95 latency", "memory": "memory", "accuracy": "accuracy"}


@dataclass(frozen=True)
class _Shortfall:
    name: str
    """``p95_latency_s``, ``memory`` or ``accuracy``."""
    excess: float
    """Measured / allowed − 1, above 0."""
    text: str
    advice: str


@dataclass(frozen=True)
class _Miss:
    deployment: Deployment
    shortfalls: tuple[_Shortfall, ...]

    @property
    def binding(self) -> _Shortfall:
        return max(self.shortfalls, key=lambda shortfall: shortfall.excess)


def check_feasible(result: StudyResult) -> None:
    """Check that some deployment keeps the limits that were asked for; baselines are exempt from the guard alone.

    Raises:
        InfeasibleSloError: none does. Names the nearest miss, the constraint that binds, and what to do.
    """
    goal, baselines = result.goal, result.baselines
    if result.best(1) or any(not goal.missed(baseline.pooled) for baseline in baselines):
        return
    misses = [_Miss(baseline.deployment, _over(goal.missed(baseline.pooled))) for baseline in baselines]
    misses += [_Miss(candidate.deployment, _of_candidate(candidate)) for candidate in result.candidates]
    _refuse(misses, goal, "so far" if result.interrupted else "in the search")


def check_admissible(comparison: Comparison, tried: Sequence[Finalist]) -> None:
    """Check that the winner keeps the limits: a candidate always does, or it would not have won; the baseline may not.

    Args:
        comparison: the last proof.
        tried: every finalist of this and earlier proofs.

    Raises:
        InfeasibleSloError: the winner doesn't. Names the nearest miss, the constraint that binds, and what to do.
    """
    baseline = comparison.baseline
    if not comparison.nothing_is_faster or not baseline.missed:
        return
    misses = [_Miss(baseline.deployment, _over(baseline.missed))]
    misses += [_Miss(finalist.deployment, _of_finalist(finalist)) for finalist in tried]
    _refuse(misses, baseline.goal, "in the finalists' blocks")


def _of_candidate(candidate: Candidate) -> tuple[_Shortfall, ...]:
    goal, accuracy = candidate.goal, candidate.pooled.accuracy
    shortfalls = _over(goal.missed(candidate.pooled))
    if accuracy is None:
        return shortfalls
    text = f"{describe_accuracy(accuracy)}, {100 * goal.guard.allowed:.2f} points allowed"
    return (*shortfalls, *_inaccurate(goal.guard.constraint(accuracy), text))


def _of_finalist(finalist: Finalist) -> tuple[_Shortfall, ...]:
    """What a finalist falls short of: in accuracy by the upper end of its interval, which must be allowed."""
    verdict = finalist.verdict
    if verdict is None or finalist.accurate:
        return _over(finalist.missed)
    high, allowed = verdict.nearest.high, verdict.allowed
    # An allowance of 0 is no unit to measure in: then the loss itself is the excess.
    excess = high / allowed - 1 if allowed else high
    return (*_over(finalist.missed), *_inaccurate(excess, verdict.describe()))


def _over(missed: Iterable[Limit]) -> tuple[_Shortfall, ...]:
    return tuple(_Shortfall(limit.name, limit.excess, limit.describe(), _advice(limit)) for limit in missed)


def _advice(limit: Limit) -> str:
    if limit.name == "memory":
        return f"--max-memory must allow {math.ceil(limit.got / 2**20)} MiB for it"
    return f"--slo p95_latency_s must allow {math.ceil(1000 * limit.got) / 1000:g} s for it"


def _inaccurate(excess: float, text: str) -> list[_Shortfall]:
    if excess <= 0:
        return []
    return [_Shortfall("accuracy", excess, text, "--max-cer-increase must allow more for it")]


def _refuse(misses: Sequence[_Miss], goal: Goal, where: str) -> None:
    """Raise InfeasibleSloError with the nearest miss: the deployment whose greatest excess is smallest."""
    nearest = min((miss for miss in misses if miss.shortfalls), key=lambda miss: miss.binding.excess)
    counts = Counter(shortfall.name for miss in misses for shortfall in miss.shortfalls)
    counted = ", ".join(f"{_NAMES[name]} in {count}" for name, count in counts.most_common())
    raise InfeasibleSloError(
        f"What is recommended must keep the limits ({goal.describe()}), but nothing measured {where} does. "
        f"The nearest miss is {nearest.deployment.describe()}: "
        + "; ".join(shortfall.text for shortfall in nearest.shortfalls)
        + f". {_NAMES[nearest.binding.name].capitalize()} binds; of {len(misses)} deployments, "
        f"what fails is {counted}. {nearest.binding.advice}; or search longer with --trials, or ask less of the "
        "machine with another audio profile."
    )
