"""The history of a study: which deployments are measured, which failed for good, which are owed an attempt."""

from __future__ import annotations

import math
from collections.abc import Iterable

from autotune.deployment import Deployment
from autotune.study.anchor import noise_of
from autotune.study.candidates import Candidate, candidates_of, in_doubt
from autotune.study.goal import Goal
from autotune.study.records import INTERRUPTED, TrialRecord

__all__ = ["ABOVE_NOISE", "ATTEMPTS", "History"]

ATTEMPTS = 3
"""Attempts at a deployment whose trials fail through no fault of its own."""
ABOVE_NOISE = 0.02
"""Difference of two expected log scores below which neither is called better."""


class History:
    """The records of a study, indexed by deployment."""

    def __init__(self, goal: Goal, records: Iterable[TrialRecord] = ()) -> None:
        self._goal = goal
        self._by_number: dict[int, TrialRecord] = {}
        self._of: dict[str, list[TrialRecord]] = {}
        self._candidates: list[Candidate] | None = None
        for record in records:
            self.add(record)

    @property
    def records(self) -> list[TrialRecord]:
        """All records, in order of their numbers."""
        return [self._by_number[number] for number in sorted(self._by_number)]

    def knows(self, number: int) -> bool:
        """Whether it holds the trial of this number."""
        return number in self._by_number

    def add(self, record: TrialRecord) -> None:
        """Add the record of a trial that ended."""
        self._by_number[record.number] = record
        self._of.setdefault(record.deployment.key, []).append(record)
        self._candidates = None

    @property
    def candidates(self) -> list[Candidate]:
        """What is measured, baselines excluded, best first."""
        # Ranking fits a Gaussian process: once for each new record, not for each question.
        if self._candidates is None:
            self._candidates = candidates_of(self.records, self._goal)
        return self._candidates

    @property
    def best(self) -> Candidate | None:
        """The best that the goal allows by point estimates."""
        return next((candidate for candidate in self.candidates if candidate.feasible), None)

    def contenders(self) -> list[Candidate]:
        """What was measured while the machine changed and might be better than the best, had that been known."""
        doubtful, best = in_doubt(self.records), self.best
        return [
            candidate
            for candidate in self.candidates
            if best is not None
            and candidate.feasible
            and candidate.trials[-1].number in doubtful
            and candidate.relative * doubtful[candidate.trials[-1].number] > best.relative
        ]

    @property
    def crashed(self) -> list[Deployment]:
        """Deployments that failed by their own fault."""
        return [
            records[-1].deployment
            for records in self._of.values()
            if any(record.state == "pruned" for record in records)
        ]

    def last(self, deployment: Deployment) -> TrialRecord:
        """A deployment's last record; one of a failure that it isn't to blame for only if there is no other."""
        records = self._of[deployment.key]
        return next((record for record in reversed(records) if record.state != "fail"), records[-1])

    def measured(self, deployment: Deployment, node: str | None = None) -> bool:
        """Whether there is a measurement, on this node if one is named."""
        records = self._of.get(deployment.key, ())
        return any(record.measurement and node in (None, record.node) for record in records)

    def attempts_left(self, deployment: Deployment) -> int:
        """How often it may still fail through no fault of its own; a trial that the user stopped isn't counted."""
        records = self._of.get(deployment.key, ())
        return ATTEMPTS - sum(record.state == "fail" and record.kind != INTERRUPTED for record in records)

    def settled(self, deployment: Deployment) -> bool:
        """Measured, failed by its own fault, or given up: not to be measured again."""
        records = self._of.get(deployment.key, ())
        return any(record.state != "fail" for record in records) or self.attempts_left(deployment) <= 0

    def unsettled(self) -> list[TrialRecord]:
        """A record of each deployment that is owed another attempt, oldest first; baselines excluded."""
        first = [records[0] for records in self._of.values() if not records[0].of_the_baseline]
        return [record for record in first if not self.settled(record.deployment)]

    def done(self, *, baselines: bool) -> int:
        """Number of deployments that need no further trial."""
        first = [records[0] for records in self._of.values()]
        return sum((baselines or not record.of_the_baseline) and self.settled(record.deployment) for record in first)

    def anchor(self, node: str) -> float | None:
        """Score of the anchor that trials of a node are relative to now; None before there is one."""
        records = [record for record in self.records if record.node == node and record.is_look]
        return next((record.anchor for record in reversed(records) if record.measurement), None)

    def looks(self, node: str, anchored: Deployment) -> list[float]:
        """Scores of the anchor's deployment on a node since the anchor was last moved, oldest first."""
        anchor = self.anchor(node)
        records = [
            record for record in self._of.get(anchored.key, ()) if record.node == node and record.anchor == anchor
        ]
        return [self._goal.score(record.pooled) for record in records if record.pooled]

    def noise(self, node: str, anchored: Deployment) -> float:
        """Standard deviation of one log score, by what was measured more than once."""
        looks = [math.log(score) for score in self.looks(node, anchored)]
        return noise_of([looks, *(candidate.logs for candidate in self.candidates)])

    def since_anchor(self, node: str) -> int:
        """Trials of a node since it last looked at its anchor."""
        count = 0
        for record in reversed(self.records):
            if record.node == node:
                if record.is_look:
                    return count
                count += 1
        return count

    def without_progress(self) -> int:
        """Deployments settled since what is now the best, or as good within noise, was first measured.

        By what is to be expected of each, not by what was first measured: one lucky trial must not end a search.
        """
        best = self.best
        as_good = [
            candidate
            for candidate in self.candidates
            if best and candidate.feasible and candidate.expected > best.expected - ABOVE_NOISE
        ]
        reached = min((candidate.trials[0].number for candidate in as_good), default=-1)
        first = [records[0] for records in self._of.values() if not records[0].of_the_baseline]
        return sum(candidate.number > reached and self.settled(candidate.deployment) for candidate in first)

    @property
    def wall_s(self) -> float:
        """Wall seconds of all trials."""
        return sum(record.wall_s for record in self._by_number.values())
