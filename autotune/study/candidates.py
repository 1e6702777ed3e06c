"""What a study makes of its records: candidates, their order, and the events of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal

from autotune.deployment import Deployment
from autotune.measure import Pooled
from autotune.study.goal import Goal
from autotune.study.records import INTERRUPTED, Role, TrialRecord
from autotune.study.surrogate import Surrogate

__all__ = ["Candidate", "EventKind", "StudyEvent", "StudyResult", "candidates_of", "in_doubt", "surrogate_of"]

ENOUGH = 8
"""Candidates from which on what is expected of one also draws on the trials of similar ones."""

EventKind = Literal["started", "finished", "repeated", "drifted", "waiting", "early", "exhausted"]


@dataclass(frozen=True)
class Candidate:
    """A deployment with everything that trials have measured of it."""

    deployment: Deployment
    trials: tuple[TrialRecord, ...]
    """Complete ones, at least one, oldest first."""
    goal: Goal
    reliable: bool = True
    """Whether it never failed by its own fault; what runs once and crashes once can't be deployed."""
    expected: float = 0.0
    """Expected logarithm of its relative score, by its own trials and those of similar deployments."""

    @cached_property
    def pooled(self) -> Pooled:
        """The figures of its trials together."""
        return Pooled(tuple(trial.measurement for trial in self.trials if trial.measurement is not None))

    @cached_property
    def logs(self) -> list[float]:
        """Logarithms of its trials' scores, each relative to its own anchor; a drift would show in pooled ones."""
        return [math.log(self.goal.score(trial.pooled) / trial.anchor) for trial in self.trials if trial.pooled]

    @cached_property
    def relative(self) -> float:
        """Geometric mean of its trials' relative scores."""
        return math.exp(math.fsum(self.logs) / len(self.logs))

    @cached_property
    def constraint(self) -> float:
        """By how much its pooled figures break the limit that they break most, as a share of that limit; ≤0: none."""
        broken = max(self.goal.constraints(self.pooled).values())
        return broken if self.reliable else max(1.0, broken)

    @cached_property
    def loss(self) -> float | None:
        """Its loss of accuracy over what is allowed, 1 being just allowed; None where no text was judged."""
        told = self.goal.constraints(self.pooled).get("accuracy")
        return None if told is None else told + 1

    @cached_property
    def beyond(self) -> float:
        """As ``constraint``, of everything but accuracy."""
        others = {name: value for name, value in self.goal.constraints(self.pooled).items() if name != "accuracy"}
        broken = max(others.values())
        return broken if self.reliable else max(1.0, broken)

    @property
    def feasible(self) -> bool:
        """Reliable, and its pooled figures keep the goal's limits, accuracy by its point estimate."""
        return self.constraint <= 0


@dataclass(frozen=True)
class StudyEvent:
    """Something that happened in a study, for progress displays."""

    kind: EventKind
    """``repeated``: Optuna suggested a measured deployment again; ``drifted``: the baseline's speed has changed,
    see ``text``; ``waiting``: other nodes measure what is left of the budget; ``early``: there was no progress for
    long; ``exhausted``: all of the space is measured."""
    number: int
    role: Role
    deployment: Deployment | None
    record: TrialRecord | None
    """The record of the trial that finished, or of the one that a repeat was answered from."""
    done: int
    """Trials that count against the budget so far, baselines included."""
    best: Candidate | None
    """The best candidate so far that the goal allows, baselines excluded."""
    text: str = ""
    candidates_done: int = 0
    """Those of ``done`` that are no baselines."""
    without_progress: int = 0
    """Deployments since what is now the best, or as good, was first measured."""
    spent_s: float = 0.0
    """Wall seconds of all trials so far."""


@dataclass(frozen=True)
class StudyResult:
    """Everything a study has measured, earlier runs of it included."""

    trials: tuple[TrialRecord, ...]
    """In order of their numbers, failed ones included, repeats not."""
    goal: Goal = field(default_factory=Goal)
    """What was searched for."""
    interrupted: bool = False
    exhausted: bool = False
    """Every deployment of the search space has been tried."""
    early: bool = False
    """There was no progress for long, so the search ended before its budget."""

    @property
    def baselines(self) -> list[Candidate]:
        """Baselines that were measured, later looks at the anchor included; empty means that all failed."""
        trials_of = _by_deployment(trial for trial in self.trials if trial.of_the_baseline)
        return [Candidate(trials[0].deployment, tuple(trials), self.goal) for trials in trials_of.values()]

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
        """The best ``count`` candidates that the goal allows by point estimates, baselines excluded."""
        return [candidate for candidate in self.candidates if candidate.feasible][:count]

    @property
    def rejected(self) -> list[Candidate]:
        """Candidates that the goal doesn't allow by point estimates, best first."""
        return [candidate for candidate in self.candidates if not candidate.feasible]

    @cached_property
    def pareto(self) -> list[Candidate]:
        """Allowed deployments that no other one beats in RTFx, p95 latency and peak memory at once; fastest first."""
        fronts = sorted(
            (candidate for candidate in self.candidates if candidate.feasible),
            key=lambda candidate: -candidate.pooled.rtfx,
        )
        return [candidate for candidate in fronts if not any(_dominates(rival, candidate) for rival in fronts)]


def candidates_of(trials: Sequence[TrialRecord], goal: Goal) -> list[Candidate]:
    """Candidates of all deployments with a complete trial, baselines excluded, the highest expected score first."""
    trials_of = _by_deployment(trial for trial in trials if not trial.of_the_baseline)
    doubtful = in_doubt(trials)
    for key, own in trials_of.items():
        # Trials in doubt count only where a deployment has no others.
        trials_of[key] = [trial for trial in own if trial.number not in doubtful] or own
    crashed = {trial.deployment.key for trial in trials if trial.state == "pruned"}
    candidates = [Candidate(own[0].deployment, tuple(own), goal, key not in crashed) for key, own in trials_of.items()]
    return sorted(_expected(candidates), key=lambda candidate: -candidate.expected)


def _by_deployment(trials: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """The complete ones among ``trials``, by the deployment's key."""
    trials_of: dict[str, list[TrialRecord]] = {}
    for trial in trials:
        if trial.measurement is not None:
            trials_of.setdefault(trial.deployment.key, []).append(trial)
    return trials_of


def _expected(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with what is to be expected of each: the best of many noisy values is mostly a lucky one."""
    if len(candidates) < ENOUGH:
        return [replace(candidate, expected=math.log(candidate.relative)) for candidate in candidates]
    expected, _ = surrogate_of(candidates).predict([candidate.deployment for candidate in candidates])
    return [replace(candidate, expected=float(value)) for candidate, value in zip(candidates, expected, strict=True)]


def surrogate_of(candidates: Sequence[Candidate]) -> Surrogate:
    """The surrogate of the score, by the trials of at least two candidates, in any order."""
    trials = [(candidate.deployment, value) for candidate in candidates for value in candidate.logs]
    # Ranking and choosing ask for the same one in turn, each with its own order of the candidates.
    return _fitted(tuple(sorted(trials, key=lambda trial: (trial[0].key, trial[1]))))


@lru_cache(maxsize=2)
def _fitted(trials: tuple[tuple[Deployment, float], ...]) -> Surrogate:
    return Surrogate([deployment for deployment, _ in trials], [value for _, value in trials])


def in_doubt(trials: Sequence[TrialRecord]) -> dict[int, float]:
    """Numbers of the trials during which the machine changed, each with the factor by which it became slower.

    They lie between the last look that agreed with the anchor and the two that moved it, the first of these included:
    nobody knows on which side of the change.
    """
    doubtful: dict[int, float] = {}
    for node in {trial.node for trial in trials}:
        before, since = list[int](), list[int]()
        anchor, last = None, -1
        for trial in trials:
            if trial.node != node or trial.measurement is None:
                continue
            if not trial.is_look:
                since.append(trial.number)
                continue
            if anchor is not None and trial.role == "anchor" and trial.anchor != anchor:
                # The look that moves it follows the one that gave rise to it.
                doubtful |= dict.fromkeys([*before, *since, last], anchor / trial.anchor)
            before, since = since, []
            anchor, last = trial.anchor, trial.number
    return doubtful


def _dominates(candidate: Candidate, rival: Candidate) -> bool:
    own, rivals = ((-of.rtfx, of.p95_latency_s, of.peak_memory_bytes) for of in (candidate.pooled, rival.pooled))
    return own != rivals and all(a <= b for a, b in zip(own, rivals, strict=True))
