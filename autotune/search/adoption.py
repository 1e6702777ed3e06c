"""A study with another allowance of accuracy loss measures nothing again: it adopts what its sibling has measured."""

from __future__ import annotations

import warnings

import optuna
from optuna.trial import FrozenTrial, create_trial

from autotune.accuracy.guard import Guard
from autotune.measure.measurement import Measurement
from autotune.search.journal import StudyJournal
from autotune.search.records import read_record

__all__ = ["adopt", "constraints_of"]


def constraints_of(measurement: Measurement | None, guard: Guard) -> dict[str, float]:
    """What the sampler is told of a trial: ``ran``, and ``accuracy`` where it was checked; ≤0 is feasible."""
    if measurement is None:
        return {"ran": 1.0}
    if measurement.accuracy is None:
        return {"ran": 0.0}
    return {"ran": 0.0, "accuracy": guard.constraint(measurement.accuracy)}


def adopt(study: optuna.Study, journal: StudyJournal, base: str, guard: Guard) -> None:
    """Copy the trials of the largest study named ``base``-… into the empty ``study``, constraints computed anew."""
    names = [name for name in optuna.get_all_study_names(journal) if name.startswith(f"{base}-")]
    siblings = [optuna.load_study(study_name=name, storage=journal) for name in names if name != study.study_name]
    if study.get_trials(deepcopy=False) or not siblings:
        return
    largest = max(siblings, key=lambda sibling: len(sibling.get_trials(deepcopy=False)))
    for name in ("identity", "anchor_rtfx"):
        if name in largest.user_attrs:
            study.set_user_attr(name, largest.user_attrs[name])
    for trial in largest.get_trials(deepcopy=False):
        copied = _copied(trial, guard)
        if copied is not None:
            study.add_trial(copied)


def _copied(trial: FrozenTrial, guard: Guard) -> FrozenTrial | None:
    record = read_record(trial)
    if record is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return create_trial(
            state=trial.state,
            value=trial.value,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            constraints=None if record.state == "fail" else constraints_of(record.measurement, guard),
        )
