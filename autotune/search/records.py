"""What a study keeps of each trial, and what it tells of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from autotune.accuracy.guard import Guard
from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.measure.accuracy import Accuracy
from autotune.measure.measurement import Measurement

__all__ = ["INTERRUPTED", "EventKind", "Role", "State", "StudyEvent", "StudyResult", "TrialRecord", "read_record"]

Role = Literal["baseline", "expert", "search", "repeat"]
"""Why a trial exists; a ``repeat`` was answered from what is already known, never measured."""
State = Literal["complete", "pruned", "fail"]
"""``pruned``: the configuration's own failure; ``fail``: not its fault, it is tried again."""

EventKind = Literal["started", "finished", "repeated", "exhausted"]

INTERRUPTED = "Interrupted"
"""``TrialRecord.kind`` of a trial that the user stopped: it doesn't count as an attempt."""

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "fail",
}


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

    @property
    def rtfx(self) -> float:
        """RTFx of a complete trial. Raises ValueError for another."""
        if self.measurement is None:
            raise ValueError(f"trial {self.number} must be complete to have an RTFx, but it is {self.state}")
        return self.measurement.rtfx


@dataclass(frozen=True)
class StudyEvent:
    """Something happened in a study, for progress displays."""

    kind: EventKind
    """``repeated``: Optuna suggested a known deployment; ``exhausted``: all of the space is measured."""
    number: int
    role: Role
    deployment: Deployment | None
    record: TrialRecord | None
    """Of the trial that finished, or of the one that a repeat was answered from."""
    done: int
    """Trials that count against the budget so far, baselines included."""
    best: TrialRecord | None
    """Fastest that the guard allows so far, baselines excluded."""


@dataclass(frozen=True)
class StudyResult:
    """Everything a study has measured, earlier runs of it included."""

    trials: tuple[TrialRecord, ...]
    """In order of their numbers, failed ones included, repeats not."""
    guard: Guard = field(default_factory=Guard)
    """What the search was told to allow."""
    interrupted: bool = False
    exhausted: bool = False
    """Every deployment of the search space has been tried."""

    @property
    def baselines(self) -> list[TrialRecord]:
        """Baselines that were measured, one for each deployment; empty means that all failed."""
        found = {trial.deployment.key: trial for trial in self.trials if trial.role == "baseline" and trial.measurement}
        return list(found.values())

    @property
    def baselines_failed(self) -> bool:
        """No baseline gave a measurement: nothing can be compared, and nothing was searched."""
        return not self.baselines and not self.interrupted

    @property
    def failed(self) -> list[TrialRecord]:
        """Trials that failed because of their configuration."""
        return [trial for trial in self.trials if trial.state == "pruned"]

    def best(self, count: int) -> list[TrialRecord]:
        """The fastest deployments whose point estimate the guard allows, baselines excluded, best first."""
        return [trial for trial in _fastest(self.trials) if self.guard.feasible(_accuracy(trial))][:count]

    @property
    def rejected(self) -> list[TrialRecord]:
        """Deployments that lose more accuracy than is allowed, baselines excluded, fastest first."""
        return [trial for trial in _fastest(self.trials) if not self.guard.feasible(_accuracy(trial))]


def _fastest(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    measured = [trial for trial in trials if trial.role != "baseline" and trial.measurement is not None]
    return sorted(measured, key=lambda trial: -trial.rtfx)


def _accuracy(trial: TrialRecord) -> Accuracy | None:
    return None if trial.measurement is None else trial.measurement.accuracy


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
            reason=attributes.get("reason", ""),
            wall_s=attributes.get("wall_s", 0.0),
            kind=attributes.get("kind", ""),
            stderr_tail=attributes.get("stderr_tail", ""),
        )
    except (KeyError, ValidationError) as error:
        raise DocumentError(
            f"trial {trial.number} of the study must be readable, but it was written by another version ({error}). "
            "Start another study with --study-name."
        ) from error
