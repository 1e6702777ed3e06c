"""The ledger: the only module that asks Optuna for trials and reports their results."""

from __future__ import annotations

import contextlib
import copy
import math
import uuid
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import BaseTrial, FixedTrial, FrozenTrial, TrialState, create_trial

from autotune.deployment import Deployment
from autotune.measure import Measurement, Pooled
from autotune.space.resolved import ResolvedSpace
from autotune.study.goal import Goal
from autotune.study.history import History
from autotune.study.records import ABOUT, Role, TrialRecord, read_record
from autotune.study.storage import StudyStorage

__all__ = ["Ledger", "Suggestion"]

_FINALISTS = "finalists"
"""Stands in place of a deployment's key on the trial by which a node says that it compares the finalists."""
_TOKEN = "token"
"""User attribute whose value only the trials of one call of ``Ledger._begin`` have."""


@dataclass(frozen=True)
class Suggestion:
    """A deployment, and the Optuna parameters that stand for it."""

    deployment: Deployment
    params: Mapping[str, Any]
    distributions: Mapping[str, BaseDistribution]
    predicted: float | None = None
    """Expected logarithm of its relative score, where parts say so."""

    @classmethod
    def from_trial(cls, space: ResolvedSpace, trial: BaseTrial) -> Suggestion:
        """The deployment of a trial that Optuna has asked for."""
        return cls(space.suggest(trial), trial.params, trial.distributions)

    @classmethod
    def of(cls, space: ResolvedSpace, deployment: Deployment) -> Suggestion:
        """A deployment of the space, with the parameters by which Optuna knows it."""
        return cls.from_trial(space, FixedTrial(space.encode(deployment)))

    @classmethod
    def outside(cls, deployment: Deployment) -> Suggestion:
        """A deployment that isn't in the space (a baseline), so that no parameters stand for it."""
        return cls(deployment, {}, {})


@dataclass(frozen=True)
class _Ending:
    """What is reported to Optuna when a trial ends."""

    state: TrialState
    value: float | None = None
    attributes: Mapping[str, Any] | None = None
    constraints: Mapping[str, float] | None = None


class Ledger:
    """An Optuna study whose trials are deployments; used by one thread.

    A shared database may be lost before or after it did what it was asked. Whatever is asked of it is therefore asked
    through ``StudyStorage.patiently`` and may be done twice: reading; beginning a trial, which is one transaction and
    recognised by its token; and ending one, which another end doesn't change. Sampling never touches the database.
    """

    def __init__(self, study: optuna.Study, storage: StudyStorage, goal: Goal) -> None:
        self._study, self._storage = study, storage
        self.goal, self.node = goal, storage.node
        self.history = History(goal)
        self._seen_running = set[int]()

    @property
    def name(self) -> str:
        """The study's name in its storage."""
        return self._study.study_name

    @property
    def where(self) -> str:
        """The storage's place, as text for messages."""
        return self._storage.where

    def refresh(self) -> None:
        """Read the trials that have ended since the last call, on any node; fail what a dead node was measuring."""
        if not self._storage.alone:
            with _quietly():
                self._storage.patiently(optuna.storages.fail_stale_trials, self._study)
            # A trial without any sign of life is never stale, and its node may have died before the first one:
            # whoever sees it first gives it one.
            for trial in self._trials(TrialState.RUNNING):
                if trial.number not in self._seen_running:
                    self._seen_running.add(trial.number)
                    with self.alive(trial):
                        pass
        for trial in self._trials():
            if trial.state.is_finished() and not self.history.knows(trial.number):
                record = read_record(trial)
                if record is not None:
                    self.history.add(record)

    def fail_unfinished(self, kind: str, reason: str) -> None:
        """Fail what this node left running; alone in the storage, that is everything."""
        for trial in self._trials(TrialState.RUNNING):
            if self._storage.alone or trial.user_attrs.get("node") == self.node:
                self._end(trial, _Ending(TrialState.FAIL, attributes={"kind": kind, "reason": reason}))
        self.refresh()

    def transfers(self, offered: Sequence[Deployment]) -> list[Deployment]:
        """The winners of earlier studies as they were offered when this study began.

        They are kept with the study: a history that has grown since must not change what a resumed study does.
        """
        return self._storage.patiently(self._transfers, offered)

    def _transfers(self, offered: Sequence[Deployment]) -> list[Deployment]:
        if "transfers" not in self._study.user_attrs:
            self._study.set_user_attr("transfers", [deployment.model_dump(mode="json") for deployment in offered])
        return [Deployment.model_validate(deployment) for deployment in self._study.user_attrs["transfers"]]

    def keep_about(self, about: Mapping[str, str]) -> None:
        """Keep what the study is of, in words, unless that is kept already."""
        self._storage.patiently(self._keep_about, about)

    def _keep_about(self, about: Mapping[str, str]) -> None:
        if ABOUT not in self._study.user_attrs:
            self._study.set_user_attr(ABOUT, dict(about))

    def anchor(self) -> Deployment | None:
        """The deployment that shows how fast each machine of the study is; None before it is chosen."""
        return self._storage.patiently(self._anchor, None)

    def set_anchor(self, deployment: Deployment) -> Deployment:
        """Choose the anchor, unless another node has; returns the one that counts."""
        anchor = self._storage.patiently(self._anchor, deployment)
        assert anchor is not None
        return anchor

    def _anchor(self, chosen: Deployment | None) -> Deployment | None:
        if chosen is not None and "anchor" not in self._study.user_attrs:
            self._study.set_user_attr("anchor", chosen.model_dump(mode="json"))
        attribute = self._study.user_attrs.get("anchor")
        return None if attribute is None else Deployment.model_validate(attribute)

    def taken(self) -> set[str]:
        """Keys of the deployments that other nodes are measuring."""
        if self._storage.alone:
            return set()
        running = self._trials(TrialState.RUNNING)
        return {str(trial.user_attrs["key"]) for trial in running if "key" in trial.user_attrs} - {_FINALISTS}

    def suggest(self, space: ResolvedSpace, seed: int) -> Suggestion:
        """What TPE suggests: a function of the seed and of what is known."""
        # Nodes that share a study and its seed must not suggest the same deployments.
        offset = 0 if self._storage.alone else zlib.crc32(self.node.encode())
        with _quietly():
            sampler = TPESampler(group=True, seed=(seed + offset) % 2**32)
        # On a copy in memory: Optuna writes each parameter as it draws it, and one that was written but not
        # acknowledged would be drawn again with another value.
        sketch = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in self._trials():
            # TPE reads no user attributes, and each trial's hold a whole measurement.
            slim = copy.copy(trial)
            slim.user_attrs = {}
            sketch.add_trial(slim)
        return Suggestion.from_trial(space, sketch.ask())

    def begin(self, suggestion: Suggestion, role: Role) -> FrozenTrial | None:
        """Begin a trial; None, and the trial failed, if another node is or was faster to begin the same."""
        deployment = suggestion.deployment
        attributes: dict[str, Any] = {
            "role": role,
            "node": self.node,
            "deployment": deployment.model_dump(mode="json"),
            "key": deployment.key,
        }
        if suggestion.predicted is not None:
            attributes["predicted"] = suggestion.predicted
        trial = self._begin(attributes, suggestion.params, suggestion.distributions)
        if self._storage.alone or role in ("baseline", "anchor", "recheck"):
            return trial  # each node measures its own baseline, and a leader is measured again on purpose
        # Of two nodes that begin the same deployment, the lower number goes on: both see both, so both agree.
        if not any(rival.number < trial.number and _measures(rival, deployment) for rival in self._trials()):
            return trial
        self._end(trial, _Ending(TrialState.FAIL, attributes={"role": "repeat"}))
        return None

    @contextlib.contextmanager
    def finalists(self) -> Iterator[str]:
        """Empty if this node is the only one that compares finalists now; else the name of the one that does."""
        if self._storage.alone:
            yield ""
            return
        self.refresh()
        own = self._begin({"role": "repeat", "node": self.node, "key": _FINALISTS})
        with self.alive(own):
            running = self._trials(TrialState.RUNNING)
            rivals = [trial for trial in running if trial.user_attrs.get("key") == _FINALISTS]
            before = [trial for trial in rivals if trial.number < own.number]
            try:
                yield str(before[0].user_attrs["node"]) if before else ""
            finally:
                # Failed: samplers don't look at failed trials, and this one has no parameters to learn from.
                self._end(own, _Ending(TrialState.FAIL))

    @contextlib.contextmanager
    def alive(self, trial: FrozenTrial) -> Iterator[None]:
        """Tell the other nodes that this trial is being measured, as long as the block lasts."""
        with self._storage.heartbeat(trial._trial_id):
            yield

    def complete(self, trial: FrozenTrial, measurement: Measurement, wall_s: float, anchor: float) -> TrialRecord:
        """End a trial with its measurement.

        Args:
            trial: as ``begin`` gave it.
            measurement: its texts are not kept: they have been judged.
            wall_s: seconds that the trial took in all.
            anchor: the baseline's score; Optuna's value is the logarithm of the measurement's score over it.
        """
        record = measurement.model_dump(mode="json", exclude={"texts"}) | {"texts": {}}
        attributes = {"wall_s": wall_s, "anchor": anchor, "measurement": record}
        figures = Pooled((measurement,))  # of this trial alone: what was reported to Optuna of earlier ones is final
        value = math.log(self.goal.score(figures) / anchor)
        return self._tell(trial, _Ending(TrialState.COMPLETE, value, attributes, self.goal.constraints(figures)))

    def fail(self, trial: FrozenTrial, error: Exception, wall_s: float, *, own_fault: bool) -> TrialRecord:
        """End a trial with its failure: pruned and infeasible if it is the configuration's own fault, else failed."""
        attributes = {
            "wall_s": wall_s,
            "kind": type(error).__name__,
            "reason": str(error) or type(error).__name__,
            "stderr_tail": getattr(error, "stderr_tail", ""),
        }
        # Pruned, not failed: Optuna's TPE ignores failed trials and would suggest the crash again and again.
        if own_fault:
            ending = _Ending(TrialState.PRUNED, None, attributes, self.goal.constraints(None))
        else:
            ending = _Ending(TrialState.FAIL, None, attributes)
        return self._tell(trial, ending)

    def repeat(self, suggestion: Suggestion, record: TrialRecord) -> int:
        """Answer a suggestion from the record of an earlier trial; the number of the trial that holds the answer."""
        attributes = {"role": "repeat", "repeats": record.number}
        trial = self._begin(attributes, suggestion.params, suggestion.distributions)
        constraints = self.goal.constraints(record.pooled)
        if record.pooled:
            value = math.log(self.goal.score(record.pooled) / record.anchor)
            self._end(trial, _Ending(TrialState.COMPLETE, value, constraints=constraints))
        else:
            self._end(trial, _Ending(TrialState.PRUNED, constraints=constraints))
        return trial.number

    def _tell(self, trial: FrozenTrial, ending: _Ending) -> TrialRecord:
        ended = self._end(trial, ending)
        if ended.state != ending.state:
            # This node was silent for so long that another gave the trial up: it is kept as a trial of its own.
            late = self._begin(ended.user_attrs, ended.params, ended.distributions)
            ended = self._end(late, ending)
        record = read_record(ended)
        assert record is not None
        self.history.add(record)
        return record

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in any of these states; none: all."""
        return self._storage.patiently(self._study.get_trials, deepcopy=False, states=states or None)

    def _begin(
        self,
        attributes: Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
        distributions: Mapping[str, BaseDistribution] | None = None,
    ) -> FrozenTrial:
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(params or {}),
            distributions=dict(distributions or {}),
            user_attrs={**attributes, _TOKEN: uuid.uuid4().hex},
        )
        return self._storage.patiently(self._begun, template)

    def _begun(self, template: FrozenTrial) -> FrozenTrial:
        """The running trial of this template, which is made unless an earlier attempt has."""
        if not self._of(template):
            # In one transaction with what it measures: other nodes must see at once whether it is theirs as well.
            self._study._storage.create_new_trial(self._study._study_id, template)
        first, *others = self._of(template)
        for other in others:  # Optuna too tries again, and can't know that its first attempt was committed
            self._ended(other, _Ending(TrialState.FAIL, attributes={"role": "repeat"}))
        return first

    def _of(self, template: FrozenTrial) -> list[FrozenTrial]:
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if trial.user_attrs.get(_TOKEN) == template.user_attrs[_TOKEN]]

    def _end(self, trial: FrozenTrial, ending: _Ending) -> FrozenTrial:
        """The trial as it ended, which differs from what is reported here if another node has given it up."""
        with _quietly():
            return self._storage.patiently(self._ended, trial, ending)

    def _ended(self, trial: FrozenTrial, ending: _Ending) -> FrozenTrial:
        storage, number = self._study._storage, trial._trial_id
        # Optuna sets constraints on the trial of an ask alone; how it writes them down is taken from a trial made here.
        constrained = create_trial(state=TrialState.PRUNED, constraints=dict(ending.constraints or {}))
        # Nothing changes a finished trial: this node's first attempt may have been committed, or another gave it up.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            # The state comes last: nothing can be added to a finished trial, and who reads one must find all of it.
            for name, attribute in (ending.attributes or {}).items():
                storage.set_trial_user_attr(number, name, attribute)
            for name, limit in constrained.system_attrs.items():
                storage.set_trial_system_attr(number, name, limit)
            storage.set_trial_state_values(number, ending.state, None if ending.value is None else [ending.value])
        return storage.get_trial(number)

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
        yield
