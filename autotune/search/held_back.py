"""What was better than the recommended deployment and is not recommended, and why."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.accuracy.guard import Verdict
from autotune.deployment import Deployment
from autotune.search.comparison import Comparison, Finalist
from autotune.search.goal import Limit
from autotune.search.misses import worst_limits
from autotune.search.results import Candidate, StudyResult

__all__ = ["HeldBack", "held_back"]


@dataclass(frozen=True)
class HeldBack:
    """A deployment that was better than the recommended one, but is not proven to be as good as was asked for."""

    deployment: Deployment
    rtfx: float
    """From the blocks if it was a finalist, else from its trials."""
    ratio: float
    """Its score over the baseline's, from the same measurements."""
    verdict: Verdict | None
    """The guard's; None if the texts were not checked."""
    limits: tuple[Limit, ...] = ()
    """Those of latency and memory that it doesn't keep."""

    @classmethod
    def of(cls, finalist: Finalist) -> HeldBack:
        """A finalist, judged by its blocks."""
        speed = finalist.rtfx.median, finalist.speedup.median
        return cls(finalist.deployment, *speed, finalist.verdict, finalist.missed)

    @property
    def inaccurate(self) -> bool:
        """Whether the guard holds it back."""
        return self.verdict is not None and self.verdict.outcome != "passed"

    def line(self) -> str:
        """Which, how fast and why, for people."""
        return f"held back: {self.deployment.describe()}: RTFx {self.rtfx:.1f}; {self.describe()}"

    def describe(self) -> str:
        """Why, for people."""
        told = [limit.describe() for limit in self.limits]
        if self.verdict is not None and self.inaccurate:
            told.append(self.verdict.describe())
        return "; ".join(told)


def held_back(result: StudyResult, comparison: Comparison) -> list[HeldBack]:
    """What was better than the recommended deployment, but is held back by guard or limits, best first.

    Trials are compared with the trials of the recommended deployment, so that both were measured alike.
    """
    held = [HeldBack.of(finalist) for finalist in comparison.held_back]
    proven = {one.deployment for one in (comparison.baseline, *comparison.candidates, *comparison.earlier)}
    bar = _relative(result, comparison.winner.deployment)
    for candidate in result.candidates:
        if candidate.deployment in proven or candidate.relative <= bar:
            continue
        found = _of(candidate)
        if found.limits or found.inaccurate:
            held.append(found)
    return sorted(held, key=lambda one: -one.ratio)


def _of(candidate: Candidate) -> HeldBack:
    measurements = candidate.measurements
    verdict = candidate.goal.guard.verdict([measurement.accuracy for measurement in measurements])
    missed = tuple(limit for limit in worst_limits(candidate.goal, measurements) if limit.excess > 0)
    return HeldBack(candidate.deployment, candidate.rtfx, candidate.relative, verdict, missed)


def _relative(result: StudyResult, deployment: Deployment) -> float:
    """Of a candidate or a baseline; 0 if the study doesn't know it."""
    mine = tuple(trial for trial in result.trials if trial.measurement and trial.deployment == deployment)
    return Candidate(deployment, mine, result.goal).relative if mine else 0.0
