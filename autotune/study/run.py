"""The steps of one run of a study: the anchor, baselines, and one deployment after the other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from autotune.deployment import Deployment
from autotune.errors import (
    ArtifactError,
    DocumentError,
    EngineUnavailableError,
    ModelError,
    TrialError,
    TrialMismatch,
)
from autotune.measure import Measurement, Pooled
from autotune.study.anchor import ANCHOR_AGE_S, EVERY, PAUSE_S, changed, describe_drift, shift_of
from autotune.study.budget import Budget
from autotune.study.candidates import EventKind, StudyEvent
from autotune.study.chooser import Chooser
from autotune.study.history import ATTEMPTS, History
from autotune.study.ledger import Ledger, Suggestion
from autotune.study.records import Role, TrialRecord

__all__ = ["OnStudyEvent", "Runner", "Steps"]

Runner = Callable[[Deployment, float], Measurement]
"""Measures a deployment, or raises. The number is an RTFx: a deployment that stays below it on its first shard is
hopeless and needs no more shards; 0: all of them."""

OnStudyEvent = Callable[[StudyEvent], None]
Shift = Callable[[float], float]
"""A score of the anchor's deployment → by how much it moves the anchor, on the log scale."""

HOPELESS = 0.9
"""A deployment whose first shard is slower than this share of the best's speed gets no further shard."""
_OF_THE_CONFIGURATION = (TrialError, ArtifactError, EngineUnavailableError, DocumentError, ModelError)
"""Errors that the deployment causes: it would fail again, so it is pruned. Any other is the machine's."""
_REPEATS_IN_A_ROW = 3
"""Suggestions that are answered from records before an unmeasured neighbour is measured instead."""
WAIT_S = 1.0
"""Seconds between two looks at what other nodes are doing."""


class Steps:
    """The steps of ``TuningStudy.run``: baselines first, then one deployment after the other."""

    def __init__(
        self,
        ledger: Ledger,
        chooser: Chooser,
        runner: Runner,
        on_event: OnStudyEvent,
        pause: Callable[[float], None],
    ) -> None:
        self._ledger, self._chooser, self._runner = ledger, chooser, runner
        self._on_event, self._pause = on_event, pause
        self._node, self._goal = ledger.node, ledger.goal
        self._anchored: Deployment | None = None
        self._rested = False

    @property
    def _history(self) -> History:
        return self._ledger.history

    def measure_anchor(self) -> None:
        """Choose the study's anchor if nobody has, and measure it on this node if that hasn't been done.

        It is the first expert, on a GPU if there is one: it takes seconds where FunASR's own path takes a minute. It is
        chosen before anything is measured, since all trials are relative to it. A study that began with a baseline
        keeps that, and so does one whose first expert doesn't run.
        """
        own = [record for record in self._history.records if record.node == self._node]
        # By the clock of the day: the last run may lie before a reboot, where a monotonic clock begins anew.
        self._rested = bool(own) and time.time() - own[-1].ended_s > ANCHOR_AGE_S
        experts = sorted(self._chooser.space.experts(), key=lambda expert: expert.device == "cpu")
        anchored = self._ledger.anchor()
        if anchored is None:
            if not experts or any(record.role == "baseline" for record in self._history.records):
                return
            anchored = self._ledger.set_anchor(experts[0])
        for _ in range(ATTEMPTS):
            if self._history.measured(anchored, self._node) or anchored in self._history.crashed:
                break
            self._measure(Suggestion.of(self._chooser.space, anchored), "anchor")
        if self._history.measured(anchored, self._node):
            self._anchored = anchored

    def measure_baselines(self, baselines: Sequence[Deployment]) -> bool:
        """Measure what is missing of the baselines; whether this node has one that ran, without which nothing follows.

        Baselines that failed get another chance while none has run. The better one is the anchor if there is no other.
        """
        again = not any(self._history.measured(baseline, self._node) for baseline in baselines)
        for baseline in dict.fromkeys(baselines):
            if self._history.measured(baseline, self._node) or (self._history.settled(baseline) and not again):
                continue
            for _ in range(ATTEMPTS if again else self._history.attempts_left(baseline)):
                record = self._measure(Suggestion.outside(baseline), "baseline")
                if record is not None and record.state != "fail":
                    break
        records = [
            record for record in self._history.records if record.role == "baseline" and record.node == self._node
        ]
        scores = {record.deployment: self._goal.score(record.pooled) for record in records if record.pooled}
        if self._anchored is None:
            self._anchored = max(scores, key=lambda deployment: scores[deployment], default=None)
        return bool(scores)

    def spent(self, budget: Budget) -> bool:
        """Whether the budget allows no further trial."""
        if budget.trials is not None and self._history.done(baselines=True) >= budget.trials:
            return True
        return budget.timeout_s is not None and self._history.wall_s >= budget.timeout_s

    def step(self, budget: Budget) -> EventKind | None:
        """Measure one deployment; what ends the search, or None if it goes on."""
        self._ledger.refresh()
        # The anchor before anything is chosen: a drift changes which trials count, and so what is chosen.
        if self._rested or self._history.since_anchor(self._node) >= EVERY:
            self._rested = False
            self._check_anchor()
        if self._history.done(baselines=False) >= self._chooser.space.size:
            return "exhausted"
        taken = self._ledger.taken()
        if budget.trials is not None and self._history.done(baselines=True) + self._begun(taken) >= budget.trials:
            self._on_event(self.event("waiting", "search"))
            self._pause(WAIT_S)  # another node measures what is left; should it die, this one takes over
            return None
        choice = self._chooser.planned(self._history, self._node, taken)
        if choice is None and budget.patience and self._history.without_progress() >= budget.patience:
            return "early"
        choice = choice or self._chooser.local(self._history, taken)
        if choice is None:
            return self._ask_tpe(taken)
        suggestion = Suggestion.of(self._chooser.space, choice.deployment)
        self._measure(replace(suggestion, predicted=choice.predicted), choice.role)
        return None

    def _begun(self, taken: set[str]) -> int:
        settled = {
            record.deployment.key for record in self._history.records if self._history.settled(record.deployment)
        }
        return len(taken - settled)

    def _ask_tpe(self, taken: set[str]) -> EventKind | None:
        space, done = self._chooser.space, self._history.done(baselines=True)
        for attempt in range(_REPEATS_IN_A_ROW):
            # TPE draws the same again with the same seed, so each trial has another; attempts are so far apart that
            # none has the seed of a later trial.
            suggestion = self._ledger.suggest(space, self._chooser.seed + done + 100_003 * attempt)
            suggested = suggestion.deployment
            if not self._history.settled(suggested):
                self._measure(suggestion, "search")
                return None
            record = self._history.last(suggested)
            number = self._ledger.repeat(suggestion, record)
            self._on_event(self.event("repeated", "repeat", number, suggested, record))
        near = self._chooser.unmeasured(self._history, taken, suggested)
        if near is None:
            return None if taken else "exhausted"
        self._measure(Suggestion.of(space, near), "search")
        return None

    def _check_anchor(self) -> None:
        """Measure the anchor again; if it has moved, pause, look once more, and compare with what it is now."""
        assert self._anchored is not None
        anchor, before = self._history.anchor(self._node), self._history.looks(self._node, self._anchored)
        noise = self._history.noise(self._node, self._anchored)
        first = self._look(lambda _: 0.0)
        if anchor is None or not before or first is None or not changed(before, first):
            return
        self._on_event(self.event("drifted", "anchor", text=describe_drift(before, first)))
        self._pause(PAUSE_S)
        self._look(lambda second: shift_of(before, [first, second], noise))
        now = self._history.anchor(self._node)
        moved = (
            "The second look agrees: the machine's speed has changed (heat, clocks or neighbours). Later trials are "
            "compared with the anchor's present speed, and the leader is measured again."
        )
        text = moved if now != anchor else "The second look doesn't confirm it: the machine counts as unchanged."
        self._on_event(self.event("drifted", "anchor", text=text))

    def _look(self, shift: Shift) -> float | None:
        """The score of the anchor's deployment now, which moves the anchor by ``shift``, on the log scale."""
        assert self._anchored is not None
        record = self._measure(Suggestion.outside(self._anchored), "anchor", shift)
        return None if record is None or record.pooled is None else self._goal.score(record.pooled)

    def _measure(self, suggestion: Suggestion, role: Role, shift: Shift | None = None) -> TrialRecord | None:
        """Measure a suggestion and record it; None if another node measures it."""
        deployment = suggestion.deployment
        trial = self._ledger.begin(suggestion, role)
        if trial is None:
            return None
        self._on_event(self.event("started", role, trial.number, deployment))
        start = time.monotonic()
        with self._ledger.alive(trial):
            try:
                measurement = self._runner(deployment, self._hopeless_below(role))
                score = self._goal.score(Pooled((measurement,)))
                if not 0 < score < math.inf:
                    raise TrialMismatch(f"the RTFx of a trial must be positive and finite, but got {measurement.rtfx}")
            except _OF_THE_CONFIGURATION as error:
                record = self._ledger.fail(trial, error, time.monotonic() - start, own_fault=True)
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the study or lose a finished trial
                record = self._ledger.fail(trial, error, time.monotonic() - start, own_fault=False)
            else:
                anchor = self._anchor_after(role, score, shift)
                record = self._ledger.complete(trial, measurement, time.monotonic() - start, anchor)
        self._on_event(self.event("finished", role, trial.number, deployment, record))
        return record

    def _anchor_after(self, role: Role, score: float, shift: Shift | None) -> float:
        """What a trial is relative to; for the anchor itself, what trials after it are relative to."""
        before = self._history.anchor(self._node)
        if before is None:
            return score
        if role == "baseline" and self._anchored is None:
            return max(before, score)
        return before * math.exp(shift(score)) if shift else before

    def _hopeless_below(self, role: Role) -> float:
        best, anchor = self._history.best, self._history.anchor(self._node)
        # What others are compared with is always heard in full. A latency is not judged by a first shard's RTFx.
        if role in ("baseline", "anchor", "recheck") or best is None or anchor is None:
            return 0.0
        return 0.0 if self._goal.objective == "latency" else HOPELESS * best.relative * anchor

    def event(
        self,
        kind: EventKind,
        role: Role,
        number: int = -1,
        deployment: Deployment | None = None,
        record: TrialRecord | None = None,
        text: str = "",
    ) -> StudyEvent:
        """A step as an event for the progress display."""
        history = self._history
        return StudyEvent(
            kind,
            number,
            role,
            deployment,
            record,
            history.done(baselines=True),
            history.best,
            text,
            candidates_done=history.done(baselines=False),
            without_progress=history.without_progress(),
            spent_s=history.wall_s,
        )
