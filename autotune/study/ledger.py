"""The ledger: everything that Optuna is asked and told of a study."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from autotune.deployment import Deployment
from autotune.measure.measurement import Measurement
from autotune.measure.pooled import Pooled
from autotune.space.resolved import ResolvedSpace
from autotune.study.goal import Goal
from autotune.study.known import History
from autotune.study.records import Role, TrialRecord, read_record
from autotune.study.storage import StudyStorage

__all__ = ["Ledger", "adopt"]

_CLAIM_WAIT_S = 5.0
"""How long a trial that was begun before this one may take to say what it measures."""
_FINALISTS = "finalists"
"""In place of a deployment's key, on the trial that stands for comparing finalists."""


class Ledger:
    """An Optuna study whose trials are deployments; used by one thread."""

    def __init__(self, study: optuna.Study, storage: StudyStorage, goal: Goal) -> None:
        self._study, self._storage = study, storage
        self.goal, self.node = goal, storage.node
        self.history = History(goal)

    @property
    def name(self) -> str:
        """The study's name in its storage."""
        return self._study.study_name

    @property
    def where(self) -> str:
        """The storage, for people."""
        return self._storage.where

    def refresh(self) -> None:
        """Take in what has ended since, here and on other nodes; give up what a dead node was measuring."""
        if not self._storage.alone:
            with _quietly():
                optuna.storages.fail_stale_trials(self._study)
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.is_finished() and not self.history.knows(trial.number):
                record = read_record(trial)
                if record is not None:
                    self.history.add(record)

    def fail_unfinished(self, kind: str, reason: str) -> None:
        """Fail what this node left running; alone in the storage, that is everything."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if self._storage.alone or trial.user_attrs.get("node") == self.node:
                with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
                    self._study._storage.set_trial_user_attr(trial._trial_id, "kind", kind)
                    self._study._storage.set_trial_user_attr(trial._trial_id, "reason", reason)
                    self._study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        self.refresh()

    def transfers(self, offered: Sequence[Deployment]) -> list[Deployment]:
        """What won elsewhere when the study began: a history that has grown since must not change a resumed study."""
        if "transfers" not in self._study.user_attrs:
            self._study.set_user_attr("transfers", [one.model_dump(mode="json") for one in offered])
        return [Deployment.model_validate(one) for one in self._study.user_attrs["transfers"]]

    def taken(self) -> set[str]:
        """Keys of the deployments that other nodes are measuring."""
        if self._storage.alone:
            return set()
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {str(trial.user_attrs["key"]) for trial in running if "key" in trial.user_attrs} - {_FINALISTS}

    def ask_tpe(self, space: ResolvedSpace, seed: int) -> tuple[Trial, Deployment]:
        """A trial, and what TPE suggests for it: a function of the seed and of what is known."""
        offset = 0 if self._storage.alone else zlib.crc32(self.node.encode())
        with _quietly():
            sampler = TPESampler(group=True, seed=(seed + offset) % 2**32)
        trial = self._ask(sampler)
        return trial, space.suggest(trial)

    def ask_for(self, space: ResolvedSpace, deployment: Deployment) -> Trial:
        """A trial of this deployment."""
        with _quietly():
            sampler = PartialFixedSampler(space.encode(deployment), RandomSampler(seed=0))
        trial = self._ask(sampler)
        space.suggest(trial)
        return trial

    def ask_outside(self) -> Trial:
        """A trial of something that isn't in the space: a baseline."""
        return self._ask(RandomSampler(seed=0))

    def _ask(self, sampler: BaseSampler) -> Trial:
        with _quietly():
            self._study.sampler = sampler
            return self._study.ask()

    def claim(self, trial: Trial, deployment: Deployment, role: Role) -> bool:
        """Say what a trial measures; False, and the trial failed, if another node is or was faster to say the same."""
        trial.set_user_attr("role", role)
        trial.set_user_attr("node", self.node)
        trial.set_user_attr("deployment", deployment.model_dump(mode="json"))
        trial.set_user_attr("key", deployment.key)
        if self._storage.alone or role in ("baseline", "anchor", "recheck"):
            return True
        if not self._said_before(trial.number, deployment):
            return True
        trial.set_user_attr("role", "repeat")
        self._study.tell(trial, state=TrialState.FAIL)
        return False

    def _said_before(self, number: int, deployment: Deployment) -> bool:
        until = time.monotonic() + _CLAIM_WAIT_S
        while True:
            earlier = [one for one in self._study.get_trials(deepcopy=False) if one.number < number]
            if any(_measures(one, deployment) for one in earlier):
                return True
            silent = any(one.state == TrialState.RUNNING and "key" not in one.user_attrs for one in earlier)
            if not silent or time.monotonic() > until:
                return False
            time.sleep(0.05)

    @contextlib.contextmanager
    def finalists(self) -> Iterator[str]:
        """Empty if this node is the only one that compares finalists now; else the name of the one that does."""
        if self._storage.alone:
            yield ""
            return
        self.refresh()
        mine = self.ask_outside()
        mine.set_user_attr("role", "repeat")
        mine.set_user_attr("node", self.node)
        mine.set_user_attr("key", _FINALISTS)
        with self.alive(mine):
            running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            before = [one for one in running if one.number < mine.number and one.user_attrs.get("key") == _FINALISTS]
            try:
                yield str(before[0].user_attrs["node"]) if before else ""
            finally:
                self._study.tell(mine, state=TrialState.FAIL)

    @contextlib.contextmanager
    def alive(self, trial: Trial) -> Iterator[None]:
        """Tell the other nodes that this trial is being measured, as long as the block lasts."""
        with self._storage.heartbeat(trial._trial_id):
            yield

    def complete(self, trial: Trial, measurement: Measurement, wall_s: float, anchor: float) -> TrialRecord:
        """Tell a measurement; Optuna's value is the logarithm of its score relative to the anchor."""
        figures = Pooled((measurement,))  # of this trial alone: what Optuna was told of earlier ones is final
        told = measurement.model_dump(mode="json", exclude={"texts"}) | {"texts": {}}
        attributes = {"wall_s": wall_s, "anchor": anchor, "measurement": told}
        value = math.log(self.goal.score(figures) / anchor)
        return self._tell(trial, attributes, self.goal.constraints(figures), value)

    def fail(self, trial: Trial, error: Exception, wall_s: float, *, own_fault: bool) -> TrialRecord:
        """Tell a failure: pruned and infeasible if it is the configuration's own, failed if it is not."""
        attributes = {
            "wall_s": wall_s,
            "kind": type(error).__name__,
            "reason": str(error) or type(error).__name__,
            "stderr_tail": getattr(error, "stderr_tail", ""),
        }
        if own_fault:
            return self._tell(trial, attributes, self.goal.constraints(None), None, TrialState.PRUNED)
        return self._tell(trial, attributes, {}, None, TrialState.FAIL)

    def repeat(self, trial: Trial, record: TrialRecord) -> None:
        """Answer a suggestion that is already known from its record."""
        trial.set_user_attr("role", "repeat")
        trial.set_user_attr("repeats", record.number)
        for name, value in self.goal.constraints(record.pooled).items():
            trial.set_constraint(name, value)
        if record.pooled:
            self._study.tell(trial, math.log(self.goal.score(record.pooled) / record.anchor))
        else:
            self._study.tell(trial, state=TrialState.PRUNED)

    def _tell(
        self,
        trial: Trial,
        attributes: Mapping[str, Any],
        constraints: Mapping[str, float],
        value: float | None,
        state: TrialState = TrialState.COMPLETE,
    ) -> TrialRecord:
        try:
            for name, attribute in attributes.items():
                trial.set_user_attr(name, attribute)
            for name, limit in constraints.items():
                trial.set_constraint(name, limit)
            self._study.tell(trial, value, state=state)
            number = trial.number
        except optuna.exceptions.UpdateFinishedTrialError:
            # This node was silent for so long that another gave the trial up: it is kept as a trial of its own.
            number = self._add(trial, attributes, constraints, value, state)
        record = read_record(self._study.get_trials(deepcopy=False)[number])
        assert record is not None
        self.history.add(record)
        return record

    def _add(
        self,
        trial: Trial,
        attributes: Mapping[str, Any],
        constraints: Mapping[str, float],
        value: float | None,
        state: TrialState,
    ) -> int:
        given_up = self._study.get_trials(deepcopy=False)[trial.number]
        with _quietly():
            late = create_trial(
                state=state,
                value=value,
                params=given_up.params,
                distributions=given_up.distributions,
                user_attrs={**given_up.user_attrs, **attributes},
                constraints=dict(constraints) or None,
            )
        before = {one.number for one in self._study.get_trials(deepcopy=False)}
        self._study.add_trial(late)
        added = [one for one in self._study.get_trials(deepcopy=False) if one.number not in before]
        return next(one.number for one in added if one.user_attrs.get("key") == given_up.user_attrs.get("key"))

    def close(self) -> None:
        """Release the storage; idempotent."""
        self._storage.close()


def _measures(trial: optuna.trial.FrozenTrial, deployment: Deployment) -> bool:
    attributes = trial.user_attrs
    if trial.state == TrialState.FAIL or attributes.get("role") in ("repeat", "baseline", "anchor"):
        return False
    return bool(attributes.get("key") == deployment.key)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed", UserWarning)  # ours beats by itself
        yield


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
