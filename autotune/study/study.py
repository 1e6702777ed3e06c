"""The study: what is measured, what is kept of it, and how a run stops and resumes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import optuna

from autotune.deployment import Deployment
from autotune.space.resolved import ResolvedSpace
from autotune.study.budget import Budget
from autotune.study.candidates import EventKind, StudyResult
from autotune.study.chooser import TRANSFERRED, Chooser
from autotune.study.goal import Goal
from autotune.study.ledger import Ledger
from autotune.study.opening import open_study
from autotune.study.parts import Parts
from autotune.study.records import INTERRUPTED, TrialRecord
from autotune.study.run import OnStudyEvent, Runner, Steps
from autotune.study.storage import StudyStorage

__all__ = ["TuningStudy"]


class TuningStudy:
    """An Optuna study of deployments.

    Owns its storage from ``open`` to ``close``; use by one thread. A suggestion depends on the seed and on the recorded
    trials alone: a study that is resumed between two trials goes on as an uninterrupted one.
    """

    def __init__(self, ledger: Ledger, space: ResolvedSpace, seed: int) -> None:
        self._ledger, self._space, self._seed = ledger, space, seed

    @classmethod
    def open(
        cls,
        storage: StudyStorage,
        *,
        name: str,
        space: ResolvedSpace,
        seed: int,
        identity: Mapping[str, Any],
        goal: Goal | None = None,
    ) -> Self:
        """Open or create the study ``name`` of a search space.

        Trials that a dead process left running are failed, and measured again by ``run``.

        Args:
            storage: as ``open_storage`` gives it; closed with the study, and if it can't be opened.
            name: the study's name, to which the space's hash and the goal are added.
            space: what is searched.
            seed: what every suggestion is drawn with.
            identity: what measurements depend on besides the deployment (model, workload, …), as JSON values.
            goal: what is looked for; None: throughput with the default guard. What was measured for another goal is
                adopted.

        Raises:
            DocumentError: the study was made with another identity.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        goal = goal or Goal()
        try:
            study = storage.patiently(open_study, storage, name, space.hash, goal, dict(identity))
            opened = cls(Ledger(study, storage, goal), space, seed)
            opened._ledger.fail_unfinished("Abandoned", "the process that ran it died")
            return opened
        except BaseException:
            storage.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release the storage; idempotent."""
        self._ledger.close()

    @property
    def name(self) -> str:
        """The study's name in its storage, the space's hash and the goal included."""
        return self._ledger.name

    @property
    def where(self) -> str:
        """The storage's place, as text for messages."""
        return self._ledger.where

    def keep_about(self, about: Mapping[str, str]) -> None:
        """Keep with the study what it is of, for reports (model, audio, …), as the run that began it says."""
        self._ledger.keep_about(about)

    @contextmanager
    def finalists(self) -> Iterator[str]:
        """Compare finalists in this block if it gives an empty string; else another node, whose name it is, does."""
        with self._ledger.finalists() as other:
            yield other

    @property
    def records(self) -> tuple[TrialRecord, ...]:
        """Every trial that ended, repeats excluded."""
        return tuple(self._ledger.history.records)

    def run(
        self,
        runner: Runner,
        budget: Budget,
        *,
        baselines: Sequence[Deployment],
        on_event: OnStudyEvent,
        transfers: Sequence[Deployment] = (),
        pause: Callable[[float], None] = time.sleep,
        parts: Parts | None = None,
    ) -> StudyResult:
        """Measure anchor, baselines, experts and transfers, then what TPE and local search suggest, until it ends.

        1. It ends when the budget is spent, nothing clearly better was found for ``Budget.patience`` deployments, or
           all of the space is measured.
        2. Failures of a configuration (``TrialError``, ``ArtifactError``, ``EngineUnavailableError``,
           ``DocumentError``, ``ModelError``) are reported to Optuna as pruned and infeasible; any other exception is
           not the configuration's fault: it is measured again, three attempts in all.
        3. A suggestion that has been measured is answered from its record and costs no budget; after three in a row
           an unmeasured neighbour is measured.
        4. The best so far is measured twice before anything is searched around it.
        5. Every ten trials the anchor, the first expert that runs, is measured again: see ``anchor``.
        6. If every baseline fails, nothing is searched: see ``StudyResult.baselines_failed``.
        7. What the goal's limits rule out is a result, but never the best; Optuna gets by how much as a constraint.
        8. With ``parts``, wholes are predicted from what trials say of the parts, and the promising ones measured.
        9. KeyboardInterrupt ends the run; what was running is measured again on resume.

        Raises:
            OSError: the journal can't be written.
        """
        most = None if budget.trials is None else max(1, int(TRANSFERRED * budget.trials))
        offered = self._ledger.transfers(list(dict.fromkeys(transfers))[:most])
        chooser = Chooser(self._space, self._seed, offered, parts)
        steps = Steps(self._ledger, chooser, runner, on_event, pause)
        ended: EventKind | None = None
        try:
            steps.measure_anchor()
            if steps.measure_baselines(baselines):
                while ended is None and not steps.spent(budget):
                    ended = steps.step(budget)
        except KeyboardInterrupt:
            self._ledger.fail_unfinished(INTERRUPTED, "stopped by the user")
            return StudyResult(self.records, self._ledger.goal, interrupted=True)
        if ended is not None:
            on_event(steps.event(ended, "search"))
        return StudyResult(self.records, self._ledger.goal, exhausted=ended == "exhausted", early=ended == "early")
