"""TimeLeft: how long the rest of a study and its proof will take, estimated from what they have measured so far."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from autotune.measure import Measurement
from autotune.reporting import Remaining
from autotune.study.anchor import EVERY
from autotune.study.budget import Budget, Effort
from autotune.study.candidates import StudyEvent

if TYPE_CHECKING:
    from autotune.proof.blocks import FinalistEvent
    from autotune.proof.proof import ProofPlan

__all__ = ["LEADERS_AGAIN", "PROVEN", "TimeLeft"]

RECENT = 10
"""Last trials of candidates that count: later ones are of better deployments, and stop earlier where they are not."""
LEADERS_AGAIN = 0.3
"""Repeats of leaders for each deployment: in the recorded searches of docs/search.md about a third of 40 measurements
are two baselines, four looks at the anchor, and these, so 7 for 27 deployments."""
PROVEN = 2
"""Candidates in a proof: the chosen one, and the one that is recommended if the proof fails it."""


@dataclass(frozen=True)
class _Took:
    """Seconds of a trial or of a measurement in a block: as it was, and without exports, pauses and repeats."""

    least_s: float
    most_s: float


class TimeLeft:
    """Estimates seconds from seconds; reads no clock, and says nothing before a candidate and a baseline ran.

    An estimate goes from the earliest end (nothing more is exported or measured again, the search ends for want of
    progress, the proof in its first blocks) to the latest. In neither is what can't be foreseen: an anchor that has
    moved, further proofs, a machine that becomes noisier.
    """

    def __init__(self, budget: Budget, effort: Effort, *, space_size: int, baselines: int) -> None:
        """Nothing is measured yet.

        Args:
            budget: when the search stops; one without a number of trials has no estimate.
            effort: how many finalists and blocks follow.
            space_size: deployments that can be searched.
            baselines: baselines that are measured before.
        """
        self._budget, self._effort, self._space_size, self._baselines = budget, effort, space_size, baselines
        self._candidates: deque[_Took] = deque(maxlen=RECENT)
        self._measured_baselines: list[_Took] = []

    def measured(self, wall_s: float, measurement: Measurement | None, *, baseline: bool) -> None:
        """Learn what a trial, or a measurement in a block, took; trials of earlier runs included.

        Args:
            wall_s: all of it, exports and repeats of what was disturbed included.
            measurement: what it gave; None if it failed.
            baseline: whether it was of FunASR's own path.
        """
        alone_s = wall_s
        if measurement is not None:
            alone_s = min(wall_s, measurement.load_s + measurement.warmup_s + measurement.measured_s)
        (self._measured_baselines if baseline else self._candidates).append(_Took(alone_s, wall_s))

    def of_search(self, event: StudyEvent) -> Remaining | None:
        """After a trial of the search."""
        budget, effort = self._budget, self._effort
        if not self._known or budget.trials is None or budget.patience is None:
            return None
        baselines_left = max(0, self._baselines - (event.done - event.candidates_done))
        most = max(0, min(budget.trials - event.done - baselines_left, self._space_size - event.candidates_done))
        least = min(most, max(0, budget.patience - event.without_progress))
        # Each deployment brings a share of a look at the anchor, and of a leader that is measured again.
        search = self._of(least * (1 + 1 / EVERY), most * (1 + LEADERS_AGAIN) * (1 + 1 / EVERY))
        if budget.timeout_s is not None:
            limit_s = max(0.0, budget.timeout_s - event.spent_s)
            search = Remaining(min(search.least_s, limit_s), min(search.most_s, limit_s))
        finalists = min(effort.finalists, self._space_size)
        selection = effort.select * finalists if effort.select > 1 and finalists > 1 else 0
        return _sum(search, self._of(selection, selection, baselines_left, baselines_left), self._proof)

    def of_selection(self, event: FinalistEvent, finalists: int) -> Remaining | None:
        """After a measurement of the blocks in which one of ``finalists`` is chosen."""
        if not self._known:
            return None
        left = (event.blocks - event.block - 1) * finalists + len(event.to_come)
        return _sum(self._of(left, left), self._proof)

    def of_proof(self, event: FinalistEvent, candidates: int, plan: ProofPlan) -> Remaining | None:
        """After a measurement of the proof of ``candidates`` beside the baseline."""
        if not self._known:
            return None
        baselines = sum(deployment.engine == "funasr" for deployment in event.to_come)
        others = len(event.to_come) - baselines
        least, most = (max(0, blocks - event.block - 1) for blocks in (plan.prove, plan.most))
        return self._of(others + least * candidates, others + most * candidates, baselines + least, baselines + most)

    @property
    def _known(self) -> bool:
        return bool(self._candidates and self._measured_baselines)

    @property
    def _proof(self) -> Remaining:
        candidates, effort = min(PROVEN, self._space_size), self._effort
        return self._of(effort.prove * candidates, effort.most * candidates, effort.prove, effort.most)

    def _of(self, least: float, most: float, least_baselines: int = 0, most_baselines: int = 0) -> Remaining:
        """Seconds of at least and at most so many measurements of candidates and of baselines."""
        candidates, baselines = self._candidates, self._measured_baselines
        return Remaining(
            least * median(took.least_s for took in candidates)
            + least_baselines * median(took.least_s for took in baselines),
            most * median(took.most_s for took in candidates)
            + most_baselines * median(took.most_s for took in baselines),
        )


def _sum(*parts: Remaining) -> Remaining:
    return Remaining(sum(part.least_s for part in parts), sum(part.most_s for part in parts))
