"""What was better than the recommended deployment and is not recommended, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune.accuracy import Verdict
from autotune.audio.profile import Objective
from autotune.baselines import compared
from autotune.deployment import Deployment
from autotune.proof.comparison import Comparison, Finalist
from autotune.study.candidates import Candidate, StudyResult
from autotune.study.goal import Limit

__all__ = ["BETTER", "WORSE", "HeldBack", "held_back", "held_back_by_trials", "reason"]


@dataclass(frozen=True)
class HeldBack:
    """A deployment that was better than the recommended one, but is not proven to be as good as was asked for."""

    deployment: Deployment
    rtfx: float
    """Its RTFx: the median of its blocks if it was a finalist, else pooled over its trials."""
    ratio: float
    """Its score over the baseline's, from the same measurements."""
    verdict: Verdict | None
    """The guard's verdict; None if the texts were not checked."""
    limits: tuple[Limit, ...] = ()
    """The limits of latency and memory that it doesn't keep."""

    @classmethod
    def of(cls, finalist: Finalist) -> HeldBack:
        """Make one of a finalist, judged by its blocks."""
        speed = finalist.rtfx.median, finalist.speedup.median
        return cls(finalist.deployment, *speed, finalist.verdict, finalist.missed)

    @property
    def inaccurate(self) -> bool:
        """Whether the guard holds it back."""
        return self.verdict is not None and self.verdict.outcome != "passed"

    def line(self) -> str:
        """One line for a terminal: which deployment, how fast, and why it is held back."""
        return f"held back: {self.deployment.describe()}: RTFx {self.rtfx:.1f}; {self.describe()}"

    def describe(self) -> str:
        """Why it is held back, as text for a report."""
        reasons = [limit.describe() for limit in self.limits]
        if self.verdict is not None and self.inaccurate:
            reasons.append(self.verdict.describe())
        return "; ".join(reasons)


def held_back(result: StudyResult, comparison: Comparison) -> list[HeldBack]:
    """Deployments that were better than the recommended one, but are held back by guard or limits, best first."""
    held = [HeldBack.of(finalist) for finalist in comparison.held_back]
    proven = {finalist.deployment for finalist in (comparison.baseline, *comparison.candidates, *comparison.earlier)}
    by_trials = held_back_by_trials(result, comparison.winner.deployment, comparison.baseline.deployment)
    held += [entry for entry in by_trials if entry.deployment not in proven]
    return sorted(held, key=lambda one: -one.ratio)


def held_back_by_trials(result: StudyResult, winner: Deployment, baseline: Deployment) -> list[HeldBack]:
    """Candidates that were better than ``winner`` in their trials, but are held back by guard or limits, best first.

    None where the study has no trial of one of the two.
    """
    # By trials on both sides, also for what was proven in blocks: both were then measured alike.
    bar = _relative(result, winner)
    # Trials are relative to the study's anchor, and a ratio is to the baseline.
    relative = _relative(result, baseline)
    better = [one for one in result.candidates if one.relative > bar] if bar and relative else []
    held = [entry for one in better if (entry := _of(one, relative)).limits or entry.inaccurate]
    return sorted(held, key=lambda one: -one.ratio)


def _of(candidate: Candidate, baseline: float) -> HeldBack:
    goal, figures = candidate.goal, candidate.pooled
    verdict, missed = goal.guard.verdict(figures.accuracy), tuple(goal.missed(figures))
    return HeldBack(candidate.deployment, figures.rtfx, candidate.relative / baseline, verdict, missed)


def _relative(result: StudyResult, deployment: Deployment) -> float:
    """The relative score of a candidate or baseline in its trials; 0 if the study has none of it."""
    measured = [*result.baselines, *result.candidates]
    return next((candidate.relative for candidate in measured if candidate.deployment == deployment), 0.0)


BETTER: dict[Objective, str] = {
    "throughput": "is faster than",
    "latency": "has a shorter p95 latency than",
    "streams": "carries more streams than",
}
"""What a deployment does that wins."""
WORSE: dict[Objective, str] = {
    "throughput": "is slower than",
    "latency": "has a longer p95 latency than",
    "streams": "carries fewer streams than",
}
"""What a deployment does that loses."""


def reason(comparison: Comparison, held: Sequence[HeldBack], objective: Objective) -> str:
    """Why the comparison's winner is recommended, in one sentence or two.

    Args:
        comparison: the proof.
        held: what was better but held back, best first.
        objective: what is made best.
    """
    if not comparison.nothing_is_faster:
        return _why_tuned(comparison)
    if not held:
        baseline = compared(comparison.baseline.deployment).baseline
        return f"Nothing measured {BETTER[objective]} {baseline} with 95 % confidence."
    rejected = sum(entry.verdict is not None and entry.verdict.outcome == "rejected" for entry in held)
    unclear = sum(entry.inaccurate for entry in held) - rejected
    beyond = sum(bool(entry.limits) for entry in held)
    counts = [f"{rejected} rejected", f"{unclear} undecided with this audio"] if rejected or unclear else []
    why = ["the accuracy guard"] if counts else []
    if beyond:
        why.append("the limits")
        counts.append(f"{beyond} beyond them")
    many = f"{len(held)} faster deployments were" if len(held) > 1 else "1 faster deployment was"
    if objective == "latency":
        many = many.replace("faster", "quicker")
    return (
        f"{many} held back by {' and '.join(why)} ({', '.join(counts)}). The best, {held[0].deployment.describe()}, "
        f"with RTFx {held[0].rtfx:.1f}: {held[0].describe()}."
    )


def _why_tuned(comparison: Comparison) -> str:
    winner, better = comparison.winner, BETTER[comparison.winner.goal.objective]
    baseline = compared(comparison.baseline.deployment).baseline
    facts = ["its accuracy was not checked" if winner.verdict is None else winner.verdict.describe()]
    facts += [limit.describe() for limit in winner.goal.limits(winner.pooled)]
    if winner.faster:
        return f"It {better} {baseline} with 95 % confidence; {'; '.join(facts)}."
    missed = "; ".join(limit.describe() for limit in comparison.baseline.missed)
    return (
        f"{baseline[0].upper()}{baseline[1:]} does not keep what was asked for ({missed}), and this is the best that "
        f"was proven to. It is not proven that it {better} the default; {'; '.join(facts)}."
    )
