"""TimeLeft: how long the rest of a study and its proof will take, estimated from what they have measured so far."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import TYPE_CHECKING

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
"""Repeats of leaders for each deployment; the recorded searches of docs/search.md have 7 for 27."""
PROVEN = 2
"""Candidates in a proof: the chosen one, and the one that is recommended if the proof fails it."""


class TimeLeft:
    """Estimates seconds from seconds; reads no clock, and says nothing before a candidate and a baseline ran.

    An estimate goes from the earliest end (the search ends for want of progress, the proof in its first blocks) to the
    latest. What can't be foreseen is in neither: measurements that are repeated because the machine was disturbed, an
    anchor that has moved, further proofs.
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
        self._candidate_s: deque[float] = deque(maxlen=RECENT)
        self._baseline_s: list[float] = []

    def measured(self, wall_s: float, *, baseline: bool) -> None:
        """Learn what a trial, or a measurement of a block, took; failed ones and those of earlier runs included."""
        (self._baseline_s if baseline else self._candidate_s).append(wall_s)

    def of_search(self, event: StudyEvent) -> Remaining | None:
        """After a trial of the search."""
        budget, effort = self._budget, self._effort
        if not self._known or budget.trials is None or budget.patience is None:
            return None
        baselines_left = max(0, self._baselines - (event.done - event.candidates_done))
        most = max(0, min(budget.trials - event.done - baselines_left, self._space_size - event.candidates_done))
        least = min(most, max(0, budget.patience - event.without_progress))
        # Each deployment brings a share of a look at the anchor, and of a leader that is measured again.
        search_s = [self._seconds(least + least / EVERY), self._seconds(most * (1 + LEADERS_AGAIN) * (1 + 1 / EVERY))]
        if budget.timeout_s is not None:
            search_s = [min(seconds, max(0.0, budget.timeout_s - event.spent_s)) for seconds in search_s]
        finalists = min(effort.finalists, self._space_size)
        selection = effort.select * finalists if effort.select > 1 and finalists > 1 else 0
        after_s = self._seconds(selection, baselines_left)
        return self._with_proof(search_s[0] + after_s, search_s[1] + after_s)

    def of_selection(self, event: FinalistEvent, finalists: int) -> Remaining | None:
        """After a measurement of the blocks in which one of ``finalists`` is chosen."""
        if not self._known:
            return None
        blocks_left = event.blocks - event.block - 1
        left_s = self._seconds(blocks_left * finalists + len(event.to_come))
        return self._with_proof(left_s, left_s)

    def of_proof(self, event: FinalistEvent, candidates: int, plan: ProofPlan) -> Remaining | None:
        """After a measurement of the proof of ``candidates`` beside the baseline."""
        if not self._known:
            return None
        baselines = sum(deployment.engine == "funasr" for deployment in event.to_come)
        left_s = self._seconds(len(event.to_come) - baselines, baselines)
        block_s = self._seconds(candidates, 1)
        least, most = (max(0, blocks - event.block - 1) for blocks in (plan.prove, plan.most))
        return Remaining(left_s + least * block_s, left_s + most * block_s)

    @property
    def _known(self) -> bool:
        return bool(self._candidate_s and self._baseline_s)

    def _seconds(self, candidates: float, baselines: int = 0) -> float:
        return candidates * median(self._candidate_s) + baselines * median(self._baseline_s)

    def _with_proof(self, least_s: float, most_s: float) -> Remaining:
        block_s = self._seconds(min(PROVEN, self._space_size), 1)
        return Remaining(least_s + self._effort.prove * block_s, most_s + self._effort.most * block_s)
