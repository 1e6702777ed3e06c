"""Opening: which study of Optuna a tuning study is, whether it is the same question, and what it adopts."""

from __future__ import annotations

import json
import math
import re
import warnings
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.errors import DocumentError
from autotune.study.goal import Goal
from autotune.study.records import read_record
from autotune.study.storage import StudyStorage

__all__ = ["STUDY_NAME", "open_study"]

STUDY_NAME = re.compile(r"(?P<name>.+)-(?P<space>[0-9a-f]{12})-(?P<goal>.+?)")
"""How ``open_study`` names Optuna's studies: the user's name, the hash of the space, the goal's key."""


def open_study(storage: StudyStorage, name: str, space_hash: str, goal: Goal, identity: dict[str, Any]) -> optuna.Study:
    """Open or create the study ``name`` of a search space and a goal; may be done twice.

    Raises:
        DocumentError: the study was made with another identity, or on another kind of machine.
    """
    base = f"{name}-{space_hash}"
    study = optuna.create_study(
        storage=storage.optuna,
        study_name=f"{base}-{goal.key}",
        direction="maximize",
        # A hopeless trial is cut short by its own runner (``run.Runner``), and is a result nevertheless.
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    if storage.alone:
        _adopt(study, storage.optuna, base, goal)
    else:
        _check_machines(storage, name, identity)
    _check_identity(study, identity, storage)
    return study


def _adopt(study: optuna.Study, storage: BaseStorage, base: str, goal: Goal) -> None:
    """Copy the trials of the largest study named ``base``-… into the empty ``study``, judged anew by its goal.

    Trials of a goal with another score can't be adopted: their anchor, which they are relative to, is of that score.
    """
    names = [name for name in optuna.get_all_study_names(storage) if name.startswith(f"{base}-")]
    siblings = [optuna.load_study(study_name=name, storage=storage) for name in names if name != study.study_name]
    siblings = [sibling for sibling in siblings if sibling.user_attrs.get("score") == goal.scored_by]
    if not study.get_trials(deepcopy=False):
        study.set_user_attr("score", goal.scored_by)
        if siblings:
            _copy(max(siblings, key=lambda sibling: len(sibling.get_trials(deepcopy=False))), study, goal)


def _copy(source: optuna.Study, study: optuna.Study, goal: Goal) -> None:
    for name in ("identity", "anchor"):
        if name in source.user_attrs:
            study.set_user_attr(name, source.user_attrs[name])
    for trial in source.get_trials(deepcopy=False):
        copied = _copied(trial, goal)
        if copied is not None:
            study.add_trial(copied)


def _copied(trial: FrozenTrial, goal: Goal) -> FrozenTrial | None:
    record = read_record(trial)
    if record is None:
        return None
    value = None if record.pooled is None else math.log(goal.score(record.pooled) / record.anchor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return create_trial(
            state=trial.state,
            value=value if trial.state == TrialState.COMPLETE else None,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs,
            constraints=None if record.state == "fail" else goal.constraints(record.pooled),
        )


def _check_machines(storage: StudyStorage, name: str, identity: dict[str, Any]) -> None:
    """Raise DocumentError where the study was begun on other hardware.

    There another space is searched, so this machine would quietly begin another study of the same name.
    """
    for study_name in optuna.get_all_study_names(storage.optuna):
        if (parts := STUDY_NAME.fullmatch(study_name)) and parts["name"] == name:
            attributes = optuna.load_study(study_name=study_name, storage=storage.optuna).user_attrs
            recorded, own = attributes.get("identity", identity).get("hardware"), identity.get("hardware")
            if recorded != own:
                raise DocumentError(
                    f"machines that share a study must be identical, but {name} in {storage.where} was begun on "
                    f"hardware {recorded!r} and this is {own!r}. Start another study with --study-name."
                )


def _check_identity(study: optuna.Study, identity: dict[str, Any], storage: StudyStorage) -> None:
    # As the storage gives it back: tuples have become lists there.
    own_identity = json.loads(json.dumps(identity))
    recorded = study.user_attrs.get("identity")
    if recorded is None:
        study.set_user_attr("identity", own_identity)
    elif recorded != own_identity:
        changed = sorted(key for key in {*recorded, *own_identity} if recorded.get(key) != own_identity.get(key))
        shared = "" if storage.alone else " Nodes that share a study must be identical machines with the same files."
        raise DocumentError(
            f"the study {study.study_name} must be resumed with what it was started with, but "
            + ", ".join(f"{key} was {recorded.get(key)!r} and is now {own_identity.get(key)!r}" for key in changed)
            + f" ({storage.where}).{shared} Start another study with --study-name."
        )
