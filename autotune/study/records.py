"""What a study keeps of each trial."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from autotune.deployment import Deployment
from autotune.errors import DocumentError
from autotune.measure import Measurement, Pooled

__all__ = ["ABOUT", "INTERRUPTED", "Role", "State", "TrialRecord", "read_record"]

Role = Literal["baseline", "anchor", "expert", "transfer", "search", "recheck", "repeat"]
"""Why a trial exists. ``anchor``: the study's anchor, to see whether the machine has changed; ``transfer``: it won in
an earlier study; ``recheck``: a leader once more; ``repeat``: answered from what is known, never measured."""
State = Literal["complete", "pruned", "fail"]
"""``pruned``: the configuration's own failure; ``fail``: not its fault, it is tried again."""

ABOUT = "about"
"""The study's user attribute that says in words what it is of; studies of older versions have none."""
INTERRUPTED = "Interrupted"
"""``TrialRecord.kind`` of a trial that the user stopped: it doesn't count as an attempt."""

_SILENT = "the machine that measured it stopped answering"
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "fail",
}


@dataclass(frozen=True)
class TrialRecord:
    """A trial that ended, with its measurement or the reason why there is none."""

    number: int
    role: Role
    deployment: Deployment
    measurement: Measurement | None
    """Without its texts; None unless ``complete``."""
    state: State
    reason: str
    """Why it failed; empty if it didn't."""
    wall_s: float
    kind: str = ""
    """The error's class: ``TrialOutOfMemory``, ``OSError``, …; empty if it didn't fail."""
    stderr_tail: str = ""
    anchor: float = 1.0
    """Score of the study's anchor that this trial is relative to, as it stood on the same machine."""
    node: str = ""
    """The machine that measured it, where several share a study."""
    predicted: float | None = None
    """What the logarithm of its score over the anchor's was expected to be, from parts; None: nothing was."""
    ended_s: float = 0.0
    """When it ended, in seconds since 1970 by the clock of the machine that measured it."""

    @cached_property
    def pooled(self) -> Pooled | None:
        """The figures of this trial alone; None unless ``complete``."""
        return None if self.measurement is None else Pooled((self.measurement,))

    @property
    def predicted_score(self) -> float | None:
        """The score that was expected from parts; None: nothing was."""
        return None if self.predicted is None else math.exp(self.predicted) * self.anchor

    @property
    def of_the_baseline(self) -> bool:
        """Whether it measured FunASR's own path, which may be the anchor too, or what stands for it."""
        return self.role == "baseline" or self.deployment.engine == "funasr"

    @property
    def is_look(self) -> bool:
        """Whether it shows how fast the machine is: the anchor's, or a baseline's where that is the anchor."""
        return self.role in ("anchor", "baseline")


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
            predicted=attributes.get("predicted"),
            ended_s=trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0,
        )
    except (KeyError, ValidationError) as error:
        raise DocumentError(
            f"trial {trial.number} of the study must be readable, but it was written by another version ({error}). "
            "Start another study with --study-name."
        ) from error
