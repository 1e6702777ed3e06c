"""What a study keeps of each trial, and what it tells of itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from autotune.accuracy.guard import Guard
from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.measure.measurement import Measurement
from autotune.search.anchor import changed
from autotune.search.goal import Goal

__all__ = [
    "INTERRUPTED",
    "Candidate",
    "EventKind",
    "Role",
    "State",
    "StudyEvent",
    "StudyResult",
    "TrialRecord",
    "candidates_of",
    "in_doubt",
    "read_record",
]

Role = Literal["baseline", "anchor", "expert", "transfer", "search", "recheck", "repeat"]
"""Why a trial exists. ``anchor``: the baseline once more, to see whether the machine has changed; ``transfer``: it won
on similar hardware; ``recheck``: a leader once more; ``repeat``: answered from what is known, never measured."""
State = Literal["complete", "pruned", "fail"]
"""``pruned``: the configuration's own failure; ``fail``: not its fault, it is tried again."""

EventKind = Literal["started", "finished", "repeated", "drifted", "early", "exhausted"]

INTERRUPTED = "Interrupted"
"""``TrialRecord.kind`` of a trial that the user stopped: it doesn't count as an attempt."""

_SILENT = "the machine that measured it stopped answering"
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "fail",
}
_OF_THE_BASELINE = ("baseline", "anchor")


@dataclass(frozen=True)
class TrialRecord:
    """One trial that ended."""

    number: int
    role: Role
    deployment: Deployment
    measurement: Measurement | None
    """Without its texts; None unless ``complete``."""
    state: State
    reason: str
    """Why it failed, empty if it didn't."""
    wall_s: float
    kind: str = ""
    """The error's class: ``TrialOutOfMemory``, ``OSError``, …; empty if it didn't fail."""
    stderr_tail: str = ""
    anchor: float = 1.0
    """Score of the baseline that this trial is relative to: the last one measured before it on the same machine."""
    node: str = ""
    """The machine that measured it, where several share a study."""
    ended_s: float = 0.0
    """When, in seconds since 1970 by the clock of that machine."""

    @property
    def rtfx(self) -> float:
        """RTFx of a complete trial. Raises ValueError for another."""
        if self.measurement is None:
            raise ValueError(f"trial {self.number} must be complete to have an RTFx, but it is {self.state}")
        return self.measurement.rtfx

    @property
    def of_the_baseline(self) -> bool:
        """Whether it measured FunASR's own path."""
        return self.role in _OF_THE_BASELINE


@dataclass(frozen=True)
class Candidate:
    """A deployment with everything that trials have measured of it."""

    deployment: Deployment
    trials: tuple[TrialRecord, ...]
    """Complete ones, at least one, oldest first."""
    goal: Goal
    reliable: bool = True
    """It never failed by its own fault; what runs once and crashes once can't be deployed."""

    @property
    def measurements(self) -> list[Measurement]:
        """One a trial."""
        return [trial.measurement for trial in self.trials if trial.measurement is not None]

    @cached_property
    def relative(self) -> float:
        """Geometric mean of its scores relative to the anchors in force: comparable although the machine drifts."""
        logs = [
            math.log(self.goal.score(trial.measurement) / trial.anchor) for trial in self.trials if trial.measurement
        ]
        return math.exp(math.fsum(logs) / len(logs))

    @property
    def rtfx(self) -> float:
        """Σ audio / Σ processing over all trials."""
        found = self.measurements
        return sum(one.audio_s for one in found) / sum(one.audio_s / one.rtfx for one in found)

    @property
    def p95_latency_s(self) -> float:
        """Median trial's 95th percentile."""
        ordered = sorted(one.latency(0.95) for one in self.measurements)
        return ordered[len(ordered) // 2]

    @property
    def peak_memory_bytes(self) -> int:
        """The highest of its trials."""
        return max(one.peak_memory_bytes for one in self.measurements)

    @property
    def feasible(self) -> bool:
        """Reliable, and the goal's limits hold in every trial, accuracy by its point estimate."""
        return self.reliable and all(self.goal.feasible(one) for one in self.measurements)


@dataclass(frozen=True)
class StudyEvent:
    """Something happened in a study, for progress displays."""

    kind: EventKind
    """``repeated``: Optuna suggested a known deployment; ``drifted``: the baseline's speed has changed, see ``text``;
    ``early``: nothing better was found for long; ``exhausted``: all of the space is measured."""
    number: int
    role: Role
    deployment: Deployment | None
    record: TrialRecord | None
    """Of the trial that finished, or of the one that a repeat was answered from."""
    done: int
    """Trials that count against the budget so far, baselines included."""
    best: Candidate | None
    """Best that the goal allows so far, baselines excluded."""
    text: str = ""


@dataclass(frozen=True)
class StudyResult:
    """Everything a study has measured, earlier runs of it included."""

    trials: tuple[TrialRecord, ...]
    """In order of their numbers, failed ones included, repeats not."""
    goal: Goal = field(default_factory=Goal)
    """What the search was told to look for."""
    interrupted: bool = False
    exhausted: bool = False
    """Every deployment of the search space has been tried."""
    early: bool = False
    """Nothing better was found for long, so it ended before its budget."""

    @property
    def guard(self) -> Guard:
        """The goal's."""
        return self.goal.guard

    @property
    def baselines(self) -> list[TrialRecord]:
        """Baselines that were measured, the first trial of each deployment; empty means that all failed."""
        found: dict[str, TrialRecord] = {}
        for trial in self.trials:
            if trial.role == "baseline" and trial.measurement:
                found.setdefault(trial.deployment.key, trial)
        return list(found.values())

    @property
    def baselines_failed(self) -> bool:
        """No baseline gave a measurement: nothing can be compared, and nothing was searched."""
        return not self.baselines and not self.interrupted

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that gave no measurement, whoever was to blame; those that the user stopped excluded."""
        return [trial for trial in self.trials if trial.state != "complete" and trial.kind != INTERRUPTED]

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Every deployment that was measured, baselines excluded, best first, feasible or not."""
        return candidates_of(self.trials, self.goal)

    def best(self, count: int) -> list[Candidate]:
        """The best that the goal allows by point estimates, baselines excluded."""
        return [candidate for candidate in self.candidates if candidate.feasible][:count]

    @property
    def rejected(self) -> list[Candidate]:
        """Those that the goal doesn't allow by point estimates, best first."""
        return [candidate for candidate in self.candidates if not candidate.feasible]

    @cached_property
    def pareto(self) -> list[Candidate]:
        """Allowed deployments that no other one beats in RTFx, p95 latency and peak memory at once; fastest first."""
        fronts = sorted((one for one in self.candidates if one.feasible), key=lambda one: -one.rtfx)
        return [one for one in fronts if not any(_dominates(other, one) for other in fronts)]


def candidates_of(trials: Sequence[TrialRecord], goal: Goal) -> list[Candidate]:
    """Complete trials by deployment, baselines excluded, best first."""
    found: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.measurement is not None and not trial.of_the_baseline:
            found.setdefault(trial.deployment.key, []).append(trial)
    doubtful = in_doubt(trials, goal)
    for key, mine in found.items():
        found[key] = [trial for trial in mine if trial.number not in doubtful] or mine
    crashed = {trial.deployment.key for trial in trials if trial.state == "pruned"}
    candidates = [Candidate(mine[0].deployment, tuple(mine), goal, key not in crashed) for key, mine in found.items()]
    return sorted(candidates, key=lambda candidate: -candidate.relative)


def in_doubt(trials: Sequence[TrialRecord], goal: Goal) -> dict[int, float]:
    """Numbers of the trials during which the machine changed, each with the factor by which it became slower.

    They lie between the last look at the baseline that agreed with the anchor and the one that moved it: nobody knows
    on which side of the change.
    """
    found: dict[int, float] = {}
    for node in {trial.node for trial in trials}:
        since: list[int] = []
        anchor: float | None = None
        for trial in trials:
            if trial.node != node or trial.measurement is None:
                continue
            if not trial.of_the_baseline:
                since.append(trial.number)
                continue
            if anchor is not None and trial.role == "anchor" and changed(anchor, trial.anchor):
                found |= dict.fromkeys(since, anchor / trial.anchor)
                since = []
            elif anchor is None or not changed(anchor, goal.score(trial.measurement)):
                since = []
            anchor = trial.anchor
    return found


def _dominates(one: Candidate, other: Candidate) -> bool:
    mine = (-one.rtfx, one.p95_latency_s, one.peak_memory_bytes)
    theirs = (-other.rtfx, other.p95_latency_s, other.peak_memory_bytes)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))


def read_record(trial: FrozenTrial) -> TrialRecord | None:
    """The record of a finished trial; None for one that was never measured.

    Raises:
        DocumentError: its attributes aren't what this version writes.
    """
    attributes: dict[str, Any] = trial.user_attrs
    if trial.state not in _STATES or attributes.get("role") == "repeat" or "deployment" not in attributes:
        return None
    measurement = attributes.get("measurement") if trial.state == TrialState.COMPLETE else None
    try:
        return TrialRecord(
            number=trial.number,
            role=attributes["role"],
            deployment=Deployment.model_validate(attributes["deployment"]),
            measurement=None if measurement is None else Measurement.model_validate(measurement),
            state=_STATES[trial.state],
            reason=attributes.get("reason", "" if trial.state != TrialState.FAIL else _SILENT),
            wall_s=attributes.get("wall_s", 0.0),
            kind=attributes.get("kind", "" if trial.state != TrialState.FAIL else "Abandoned"),
            stderr_tail=attributes.get("stderr_tail", ""),
            anchor=attributes.get("anchor", 1.0),
            node=attributes.get("node", ""),
            ended_s=trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0,
        )
    except (KeyError, ValidationError) as error:
        raise DocumentError(
            f"trial {trial.number} of the study must be readable, but it was written by another version ({error}). "
            "Start another study with --study-name."
        ) from error
