"""A study with another goal measures nothing again: it adopts what its sibling has measured."""

from __future__ import annotations

import math
import warnings

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.search.goal import Goal
from autotune.search.records import read_record

__all__ = ["adopt"]


def adopt(study: optuna.Study, storage: BaseStorage, base: str, goal: Goal) -> None:
    """Copy the trials of the largest study named ``base``-… into the empty ``study``, judged anew by its goal.

    Of a goal with another score nothing can be adopted: what trials are relative to would be another score too.
    """
    names = [name for name in optuna.get_all_study_names(storage) if name.startswith(f"{base}-")]
    siblings = [optuna.load_study(study_name=name, storage=storage) for name in names if name != study.study_name]
    siblings = [sibling for sibling in siblings if sibling.user_attrs.get("score") == goal.scored_by]
    if not study.get_trials(deepcopy=False):
        study.set_user_attr("score", goal.scored_by)
        if siblings:
            _copy(max(siblings, key=lambda sibling: len(sibling.get_trials(deepcopy=False))), study, goal)


def _copy(source: optuna.Study, study: optuna.Study, goal: Goal) -> None:
    if "identity" in source.user_attrs:
        study.set_user_attr("identity", source.user_attrs["identity"])
    for trial in source.get_trials(deepcopy=False):
        copied = _copied(trial, goal)
        if copied is not None:
            study.add_trial(copied)


def _copied(trial: FrozenTrial, goal: Goal) -> FrozenTrial | None:
    record = read_record(trial)
    if record is None:
        return None
    value = None if record.measurement is None else math.log(goal.score(record.measurement) / record.anchor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return create_trial(
            state=trial.state,
            value=value if trial.state == TrialState.COMPLETE else None,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            constraints=None if record.state == "fail" else goal.constraints(record.measurement),
        )
