"""The study: which deployment is measured next, what is kept of it, and how a run stops and resumes."""

from __future__ import annotations

import json
import math
import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import optuna
from optuna.trial import Trial, TrialState

from autotune.accuracy.guard import Guard
from autotune.deployment import Deployment
from autotune.errors import (
    ArtifactError,
    DocumentError,
    EngineUnavailableError,
    ModelError,
    TrialError,
    TrialMismatch,
)
from autotune.measure.measurement import Measurement
from autotune.search.adoption import adopt, constraints_of
from autotune.search.history import ATTEMPTS, History
from autotune.search.journal import StudyJournal, open_journal
from autotune.search.records import INTERRUPTED, EventKind, Role, StudyEvent, StudyResult, TrialRecord, read_record
from autotune.search.resolved_space import ResolvedSpace

__all__ = ["EFFORTS", "Budget", "Effort", "Runner", "StudyEvent", "StudyResult", "TrialRecord", "TuningStudy"]

Runner = Callable[[Deployment], Measurement]
"""Measures a deployment, or raises."""

_OF_THE_CONFIGURATION = (TrialError, ArtifactError, EngineUnavailableError, DocumentError, ModelError)
_REPEATS_IN_A_ROW = 3
_RANDOM_DRAWS = 200
_SMALL_SPACE = 50_000


@dataclass(frozen=True)
class Budget:
    """When to stop. Earlier runs of the same study count; baselines count, but are always measured."""

    trials: int | None = None
    """Deployments measured, failed ones included."""
    timeout_s: float | None = None
    """Wall seconds of all trials; one that runs is not cut short."""


@dataclass(frozen=True)
class Effort:
    """How much is spent, from the first trial to the finalists."""

    trials: int
    shards: int
    """Shards of the workload that one trial transcribes."""
    blocks: int
    """Interleaved blocks in which finalists are measured again."""
    recordings_per_shard: int | None = None
    """None: as many as the audio profile says."""

    @property
    def workload_shards(self) -> int:
        """Shards that are drawn: one measurement's, and others for the finalists' blocks to hear."""
        return max(4, self.blocks, self.shards)


EFFORTS: dict[str, Effort] = {
    "quick": Effort(trials=12, shards=1, blocks=3),
    "standard": Effort(trials=30, shards=1, blocks=4),
    "thorough": Effort(trials=100, shards=2, blocks=6),
}


class TuningStudy:
    """An Optuna study of deployments in a journal file.

    Owns the journal's lock from ``open`` to ``close``; use by one thread. A suggestion depends on the seed and the
    journal alone: a study that is resumed between two trials goes on as an uninterrupted one.
    """

    def __init__(
        self, journal: StudyJournal, study: optuna.Study, space: ResolvedSpace, seed: int, guard: Guard
    ) -> None:
        self._journal, self._study, self._space, self._seed, self._guard = journal, study, space, seed, guard
        self._history = History()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        name: str,
        space: ResolvedSpace,
        seed: int,
        identity: Mapping[str, Any],
        guard: Guard | None = None,
        fresh: bool = False,
    ) -> Self:
        """Open or create the study ``name`` of a search space in the journal at ``path``.

        Trials that a dead process left running are failed, and measured again by ``run``.

        Args:
            path: the journal's file; its directory is made.
            name: the study's name, to which the space's hash and the guard's allowance are added.
            space: what is searched.
            seed: of every suggestion.
            identity: what measurements depend on besides the deployment (model, workload, …), as JSON values.
            guard: which loss of accuracy is allowed; None: the default. Trials that were measured with another
                allowance are adopted.
            fresh: forget what the journal holds and start anew.

        Raises:
            AutotuneError: another process has the study open.
            DocumentError: the study was made with another identity, or the journal is damaged.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        guard = guard or Guard()
        journal = open_journal(path, fresh=fresh)
        base = f"{name}-{space.hash}"
        try:
            study = optuna.create_study(
                storage=journal,
                study_name=f"{base}-{guard.allowed:g}",
                direction="maximize",
                pruner=optuna.pruners.NopPruner(),
                load_if_exists=True,
            )
            adopt(study, journal, base, guard)
            _check_identity(study, dict(identity), path)
            opened = cls(journal, study, space, seed, guard)
            opened._fail_unfinished("Abandoned", "the process that ran it died")
            return opened
        except BaseException:
            journal.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release the journal; idempotent."""
        self._journal.close()

    @property
    def name(self) -> str:
        """The study's name in the journal, the space's hash and the allowance included."""
        return self._study.study_name

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """Every trial that ended, repeats excluded."""
        return tuple(self._history.records)

    def run(
        self,
        runner: Runner,
        budget: Budget,
        *,
        baselines: Sequence[Deployment],
        on_event: Callable[[StudyEvent], None],
    ) -> StudyResult:
        """Measure baselines, experts, then what TPE suggests, until the budget is spent or the space exhausted.

        1. Failures of a configuration (``TrialError``, ``ArtifactError``, ``EngineUnavailableError``,
           ``DocumentError``, ``ModelError``) are told as pruned and infeasible; any other exception is not the
           configuration's fault: it is measured again, three attempts in all.
        2. A suggestion that is already known is answered from its record and costs no budget; after three in a row
           an unmeasured neighbour is measured.
        3. If every baseline fails, nothing is searched: see ``StudyResult.baselines_failed``.
        4. What the guard rejects is a result, but never the best: TPE is told by how much its accuracy fails.
        5. KeyboardInterrupt ends the run; what was running is measured again on resume.

        Raises:
            OSError: the journal can't be written.
        """
        exhausted = False
        try:
            if self._measure_baselines(runner, baselines, on_event):
                while not self._spent(budget) and not exhausted:
                    exhausted = not self._step(runner, on_event)
        except KeyboardInterrupt:
            self._fail_unfinished(INTERRUPTED, "stopped by the user")
            return StudyResult(self.records, guard=self._guard, interrupted=True)
        if exhausted:
            on_event(self._event("exhausted", "search"))
        return StudyResult(self.records, guard=self._guard, exhausted=exhausted)

    def _measure_baselines(
        self, runner: Runner, baselines: Sequence[Deployment], on_event: Callable[[StudyEvent], None]
    ) -> bool:
        """Whether there is a measured baseline. Failed ones get another chance while there is none."""
        again = not any(self._history.measured(baseline) for baseline in baselines)
        for baseline in dict.fromkeys(baselines):
            if self._history.measured(baseline) or (self._history.settled(baseline) and not again):
                continue
            for _ in range(ATTEMPTS if again else self._history.attempts_left(baseline)):
                if self._measure(self._ask(None), baseline, "baseline", runner, on_event).state != "fail":
                    break
        return any(self._history.measured(baseline) for baseline in baselines)

    def _step(self, runner: Runner, on_event: Callable[[StudyEvent], None]) -> bool:
        """Measure one deployment; False if none is left."""
        if self._history.done(baselines=False) >= self._space.size:
            return False
        chosen = self._planned()
        if chosen is not None:
            deployment, role = chosen
            self._measure(self._ask(self._space.encode(deployment)), deployment, role, runner, on_event)
            return True
        for _ in range(_REPEATS_IN_A_ROW):
            trial = self._ask(None)
            suggested = self._space.suggest(trial)
            if not self._history.settled(suggested):
                self._measure(trial, suggested, "search", runner, on_event)
                return True
            self._answer(trial, suggested, on_event)
        near = self._unmeasured_near(suggested)
        if near is None:
            return False
        self._measure(self._ask(self._space.encode(near)), near, "search", runner, on_event)
        return True

    def _planned(self) -> tuple[Deployment, Role] | None:
        """What must be measured before TPE is asked: interrupted and failed trials again, then the experts."""
        owed = self._history.unsettled()
        if owed:
            return owed[0].deployment, owed[0].role
        for expert in self._space.experts():
            if not self._history.settled(expert):
                return expert, "expert"
        return None

    def _unmeasured_near(self, deployment: Deployment) -> Deployment | None:
        generator = random.Random(f"{self._seed}/{len(self._study.get_trials(deepcopy=False))}")
        near = self._space.neighbours(deployment)
        generator.shuffle(near)
        near += [self._space.sample(generator) for _ in range(_RANDOM_DRAWS)]
        for candidate in near:
            if not self._history.settled(candidate):
                return candidate
        rest = self._space.everything() if self._space.size <= _SMALL_SPACE else iter(())
        return next((candidate for candidate in rest if not self._history.settled(candidate)), None)

    def _ask(self, params: dict[str, Any] | None) -> Trial:
        """A trial with these parameters, or with a sampler to suggest from: a function of seed and history."""
        count = len(self._study.get_trials(deepcopy=False))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.sampler = optuna.samplers.TPESampler(group=True, seed=(self._seed + count) % 2**32)
        if params is not None:
            self._study.enqueue_trial(params)
        return self._study.ask()

    def _measure(
        self,
        trial: Trial,
        deployment: Deployment,
        role: Role,
        runner: Runner,
        on_event: Callable[[StudyEvent], None],
    ) -> TrialRecord:
        if role != "baseline":
            self._space.suggest(trial)
        trial.set_user_attr("role", role)
        trial.set_user_attr("deployment", deployment.model_dump(mode="json"))
        on_event(self._event("started", role, trial.number, deployment))
        start = time.monotonic()
        try:
            measurement = runner(deployment)
            rtfx = measurement.rtfx
            if not 0 < rtfx < math.inf:
                raise TrialMismatch(f"the RTFx of a trial must be positive and finite, but got {rtfx}")
        except _OF_THE_CONFIGURATION as error:
            self._tell_failure(trial, TrialState.PRUNED, error, time.monotonic() - start)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the study or lose a finished trial
            self._tell_failure(trial, TrialState.FAIL, error, time.monotonic() - start)
        else:
            trial.set_user_attr("wall_s", time.monotonic() - start)
            trial.set_user_attr("measurement", measurement.model_dump(mode="json", exclude={"texts"}) | {"texts": {}})
            self._set_constraints(trial, measurement)
            self._study.tell(trial, math.log(rtfx / self._anchor(rtfx)))
        record = read_record(self._study.get_trials(deepcopy=False)[trial.number])
        assert record is not None
        self._history.add(record)
        on_event(self._event("finished", role, trial.number, deployment, record))
        return record

    def _tell_failure(self, trial: Trial, state: TrialState, error: Exception, wall_s: float) -> None:
        trial.set_user_attr("wall_s", wall_s)
        trial.set_user_attr("kind", type(error).__name__)
        trial.set_user_attr("reason", str(error) or type(error).__name__)
        trial.set_user_attr("stderr_tail", getattr(error, "stderr_tail", ""))
        if state == TrialState.PRUNED:
            self._set_constraints(trial, None)
        self._study.tell(trial, state=state)

    def _answer(self, trial: Trial, deployment: Deployment, on_event: Callable[[StudyEvent], None]) -> None:
        """Tell a repeated suggestion what is known of its deployment."""
        record = self._history.last(deployment)
        trial.set_user_attr("role", "repeat")
        trial.set_user_attr("repeats", record.number)
        self._set_constraints(trial, record.measurement)
        if record.measurement:
            self._study.tell(trial, math.log(record.rtfx / self._anchor(record.rtfx)))
        else:
            self._study.tell(trial, state=TrialState.PRUNED)
        on_event(self._event("repeated", "repeat", trial.number, deployment, record))

    def _set_constraints(self, trial: Trial, measurement: Measurement | None) -> None:
        for name, value in constraints_of(measurement, self._guard).items():
            trial.set_constraint(name, value)

    def _anchor(self, rtfx: float) -> float:
        """RTFx that values are relative to: the first that was ever measured, which is a baseline's."""
        if "anchor_rtfx" not in self._study.user_attrs:
            self._study.set_user_attr("anchor_rtfx", rtfx)
        return float(self._study.user_attrs["anchor_rtfx"])

    def _fail_unfinished(self, kind: str, reason: str) -> None:
        """Fail what is still running, and read the history as the journal has it."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._journal.set_trial_user_attr(trial._trial_id, "kind", kind)
            self._journal.set_trial_user_attr(trial._trial_id, "reason", reason)
            self._study.tell(trial.number, state=TrialState.FAIL)
        # An enqueued trial that was never asked for: whoever enqueued it will again.
        while self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.tell(self._study.ask(), state=TrialState.FAIL)
        found = [read_record(trial) for trial in self._study.get_trials(deepcopy=False)]
        self._history = History(record for record in found if record is not None)

    def _spent(self, budget: Budget) -> bool:
        if budget.trials is not None and self._history.done(baselines=True) >= budget.trials:
            return True
        return budget.timeout_s is not None and self._history.wall_s >= budget.timeout_s

    def _event(
        self,
        kind: EventKind,
        role: Role,
        number: int = -1,
        deployment: Deployment | None = None,
        record: TrialRecord | None = None,
    ) -> StudyEvent:
        best = StudyResult(self.records, guard=self._guard).best(1)
        return StudyEvent(
            kind, number, role, deployment, record, self._history.done(baselines=True), best[0] if best else None
        )


def _check_identity(study: optuna.Study, identity: dict[str, Any], path: Path) -> None:
    wanted = json.loads(json.dumps(identity))
    found = study.user_attrs.get("identity")
    if found is None:
        study.set_user_attr("identity", wanted)
    elif found != wanted:
        changed = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        raise DocumentError(
            f"the study {study.study_name} must be resumed with what it was started with, but "
            + ", ".join(f"{key} was {found.get(key)!r} and is now {wanted.get(key)!r}" for key in changed)
            + f" ({path}). Start another study with --study-name."
        )
