"""What is already known of deployments: which are measured, which failed for good, which are owed an attempt."""

from __future__ import annotations

from collections.abc import Iterable

from autotune.deployment import Deployment
from autotune.search.records import INTERRUPTED, TrialRecord

__all__ = ["ATTEMPTS", "History"]

ATTEMPTS = 3
"""Attempts at a deployment whose trials fail through no fault of its own."""


class History:
    """The records of a study, indexed by deployment."""

    def __init__(self, records: Iterable[TrialRecord] = ()) -> None:
        self.records: list[TrialRecord] = []
        self._of: dict[str, list[TrialRecord]] = {}
        for record in records:
            self.add(record)

    def add(self, record: TrialRecord) -> None:
        """Keep one more."""
        self.records.append(record)
        self._of.setdefault(record.deployment.key, []).append(record)

    def last(self, deployment: Deployment) -> TrialRecord:
        """The last that says something: a failure for which the deployment isn't to blame only if there is no other."""
        mine = self._of[deployment.key]
        return next((record for record in reversed(mine) if record.state != "fail"), mine[-1])

    def measured(self, deployment: Deployment) -> bool:
        """Whether there is a measurement."""
        return any(record.measurement for record in self._of.get(deployment.key, ()))

    def attempts_left(self, deployment: Deployment) -> int:
        """How often it may still fail through no fault of its own; a trial that the user stopped isn't counted."""
        mine = self._of.get(deployment.key, ())
        return ATTEMPTS - sum(record.state == "fail" and record.kind != INTERRUPTED for record in mine)

    def settled(self, deployment: Deployment) -> bool:
        """Measured, failed by its own fault, or given up: not to be measured again."""
        mine = self._of.get(deployment.key, ())
        return any(record.state != "fail" for record in mine) or self.attempts_left(deployment) <= 0

    def unsettled(self) -> list[TrialRecord]:
        """A record of each deployment that is owed another attempt, oldest first; baselines excluded."""
        first = [mine[0] for mine in self._of.values()]
        return [record for record in first if record.role != "baseline" and not self.settled(record.deployment)]

    def done(self, *, baselines: bool) -> int:
        """Number of settled deployments."""
        first = [mine[0] for mine in self._of.values()]
        return sum((baselines or record.role != "baseline") and self.settled(record.deployment) for record in first)

    @property
    def wall_s(self) -> float:
        """Wall seconds of all trials."""
        return sum(record.wall_s for record in self.records)
