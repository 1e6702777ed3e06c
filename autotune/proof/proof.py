"""Confirming: which deployments of a study are proven against the better baseline, and with which outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from autotune.accuracy import Accuracy
from autotune.deployment import Deployment
from autotune.errors import TrialError
from autotune.measure import Pooled
from autotune.proof.blocks import PRECISION, BlockRunner, Blocks, FinalistEvent, compare, rank
from autotune.proof.comparison import NEAR_TIE, Comparison, Finalist, non_default_knobs, ranked
from autotune.proof.contested import full_hearings, judged_by, unlikely
from autotune.proof.held_back import HeldBack
from autotune.proof.misses import check_admissible, check_feasible
from autotune.proof.time_left import PROVEN, TimeLeft
from autotune.reporting import Remaining, Reporter
from autotune.study.budget import Effort
from autotune.study.candidates import Candidate, StudyResult
from autotune.study.goal import Goal

__all__ = ["LineUp", "ProofPlan", "better_baseline", "confirm", "line_up"]

MORE_PROOFS = 2
"""Most further proofs, each of the next two candidates, where guard or limits hold back all that are faster."""
STOPPED_BLOCKS = 2
"""Blocks of the proof once the user has stopped the study: the fewest that give an interval."""


@dataclass(frozen=True)
class ProofPlan:
    """How a winner is chosen, and how it is proven.

    Choosing and proving are apart: of several deployments that are equally fast, the one that had luck is chosen, and
    its luck must not be in what is reported of it. So the proof has blocks of its own, and only these are reported.
    """

    finalists: int
    """Candidates that are compared before one is chosen; one more if it is as good and simpler."""
    select: int
    """Blocks in which it is chosen; fewer than 2: the study's order stays."""
    prove: int
    """Blocks of the proof, at least 2."""
    most: int
    """Most blocks of the proof: it goes on while the interval of the chosen one's speed-up is wide."""
    seed: int = 0
    """What the order within blocks is drawn with."""

    @classmethod
    def of(cls, effort: Effort, seed: int) -> ProofPlan:
        """The plan that an effort pays for."""
        return cls(effort.finalists, effort.select, effort.prove, effort.most, seed)

    @property
    def stopped(self) -> ProofPlan:
        """The shortest plan that still gives an interval, for a user who has stopped the study."""
        return replace(self, prove=STOPPED_BLOCKS, most=STOPPED_BLOCKS)


@dataclass(frozen=True)
class LineUp:
    """Which deployments of a study may win, in order of preference."""

    finalists: tuple[Deployment, ...]
    reserve: tuple[Deployment, ...]
    """Deployments that are proven only if guard or limits hold all finalists back."""


def better_baseline(result: StudyResult) -> Deployment:
    """The best of the measured baselines, those within the limits first.

    Raises:
        TrialError: none could be measured; says why.
        KeyboardInterrupt: stopped before there was one.
    """
    if result.interrupted and not result.baselines:
        raise KeyboardInterrupt
    if not result.baselines:
        failed = [trial for trial in result.trials if trial.role == "baseline"]
        reasons = "; ".join(f"{trial.deployment.describe()}: {trial.reason}" for trial in failed)
        raise TrialError(
            f"FunASR's own path must run, since everything is compared with it, but no baseline could be measured. "
            f"{reasons}",
            stderr_tail=failed[-1].stderr_tail if failed else "",
        )
    goal = result.goal

    def merit(baseline: Candidate) -> tuple[bool, float]:
        # First measurements follow one another on the same machine; the anchor's later looks may be of a slower one.
        return not goal.missed(baseline.pooled), goal.score(Pooled(baseline.pooled.measurements[:1]))

    return max(result.baselines, key=merit).deployment


def line_up(result: StudyResult, count: int) -> LineUp:
    """Who may be a finalist, in order: those expected to pass the guard, then those that may; the best first.

    The blocks hear more audio than a trial does, so an interval that is still too wide is no obstacle; an estimate in
    the upper half of the allowance is one. Beside the first ``count``, the simplest of those within 5 % of the best is
    a finalist if it is simpler than the best: a tie is its to win.
    """
    allowed, rejected = result.best(len(result.trials)), unlikely(result)
    groups: list[list[Deployment]] = [[], [], []]
    for candidate in allowed:
        doubt = 2 if candidate.deployment in rejected else _doubt(candidate.pooled, result.goal)
        groups[doubt].append(candidate.deployment)
    ordered = [deployment for group in groups for deployment in group]
    finalists = ordered[:count]
    simplest = _simplest_near_tie(allowed)
    if simplest is not None and simplest not in finalists:
        finalists.append(simplest)
    return LineUp(tuple(finalists), tuple(deployment for deployment in ordered if deployment not in finalists))


def _doubt(figures: Pooled, goal: Goal) -> int:
    """0: the guard is expected to pass figures like these; 1: it may; 2: it won't, or a limit is broken."""
    constraints = goal.constraints(figures)
    if max(constraints.values()) > 0:
        return 2
    if figures.accuracy is None and any(measurement.cut_short for measurement in figures.measurements):
        return 1  # given up before its texts were judged
    passes = goal.guard.passes(figures.accuracy)
    if figures.accuracy is not None and figures.accuracy.complete:
        return 0 if passes else 2  # all clips there are: no block will say anything else
    return 0 if constraints.get("accuracy", -1.0) <= -0.5 or passes else 1


def _simplest_near_tie(allowed: Sequence[Candidate]) -> Deployment | None:
    if not allowed:
        return None
    best = allowed[0]
    near = [candidate for candidate in allowed if candidate.relative * NEAR_TIE > best.relative]
    simplest = min(near, key=lambda candidate: non_default_knobs(candidate.deployment)).deployment
    return simplest if non_default_knobs(simplest) < non_default_knobs(best.deployment) else None


def confirm(
    result: StudyResult,
    runner: BlockRunner,
    reporter: Reporter,
    plan: ProofPlan,
    time_left: TimeLeft | None = None,
) -> Comparison:
    """Interleaved blocks of fresh processes: finalists against the better baseline, down the list if need be.

    1. The finalists are compared in ``plan.select`` blocks, and one of them is chosen.
    2. It and the runner-up are proven in fresh blocks, whose comparison is what is returned. The chosen one wins if it
       may be recommended; if it failed, or guard or limits hold it back, the runner-up; else the baseline.
    3. If guard or limits hold both back, the next two are proven, twice at most.

    A study that was stopped proves its best alone, in two blocks; so does a first KeyboardInterrupt in step 1.
    ``time_left`` learns from each measurement; None: no time left is reported.

    Raises:
        TrialError: no baseline, or too few complete blocks for an interval.
        InfeasibleSloError: neither a candidate nor the baseline keeps the limits that were asked for.
        KeyboardInterrupt: stopped before two blocks of the proof were complete.
    """
    baseline = better_baseline(result)
    hearings, rejected = full_hearings(result), unlikely(result)
    precision = _precision(result, baseline)
    prover = _Prover(baseline, runner, reporter, result.goal, plan, hearings, rejected, precision, time_left)
    check_feasible(result)
    line = line_up(result, plan.finalists)
    queue, stopped = [*line.finalists, *line.reserve], result.interrupted
    if not stopped:
        queue, stopped = prover.select(line)
    if stopped:
        reporter.note(
            f"Stopped. Confirming the best so far against the baseline in {STOPPED_BLOCKS} blocks; Ctrl-C again to "
            "leave now.",
            loud=True,
        )
        prover, queue = replace(prover, plan=plan.stopped), queue[:1]
    return prover.prove(queue)


def _precision(result: StudyResult, baseline: Deployment) -> float:
    """The relative half-width of a speed-up's interval that is worth its time, by the speed-up that the search saw.

    A twentieth of it on the log scale: nobody decides otherwise because 14.7 may be 13 or 16, and 1.02 may not be 1.05.
    Fixed before the proof, so that the proof's own luck doesn't decide when it ends.
    """
    best = next(iter(result.best(1)), None)
    before = next(item.relative for item in result.baselines if item.deployment == baseline)
    seen = 0.0 if best is None else math.log(best.relative / before)
    return max(PRECISION, math.expm1(abs(seen) / 20))


@dataclass(frozen=True)
class _Prover:
    baseline: Deployment
    runner: BlockRunner
    reporter: Reporter
    goal: Goal
    plan: ProofPlan
    hearings: Mapping[Deployment, Accuracy]
    """Full hearings from before the blocks."""
    rejected: Collection[Deployment]
    """Deployments that won't pass the guard, by full hearings."""
    precision: float = PRECISION
    time_left: TimeLeft | None = None

    def select(self, line: LineUp) -> tuple[list[Deployment], bool]:
        """Deployments in the order in which they are proven, without those that failed; whether the user stopped it."""
        plan, unchanged = self.plan, [*line.finalists, *line.reserve]
        if plan.select < 2 or len(line.finalists) < 2:
            return unchanged, False
        blocks = Blocks(plan.select, seed=plan.seed, goal=self.goal)
        on_event = self._reported("selection", len(line.finalists))
        ranking = rank(line.finalists, self.runner, blocks=blocks, on_event=on_event)
        failed = [finalist.deployment for finalist in ranking.dropped]
        if not ranking.conclusive:
            # Stopped too early to rank: what the study expects is then the best order there is.
            return [deployment for deployment in unchanged if deployment not in failed], ranking.interrupted
        groups: list[list[Finalist]] = [[], [], []]
        for finalist in ranking.candidates:
            doubt = 2 if finalist.deployment in self.rejected else _doubt(self._figures(finalist), self.goal)
            groups[doubt].append(finalist)
        order = [finalist.deployment for group in groups for finalist in ranked(group)]
        return [*order, *line.reserve], ranking.interrupted

    def _figures(self, finalist: Finalist) -> Pooled:
        """Its blocks' figures; its texts by a full hearing if there was one, of which the blocks heard a part."""
        hearing = self.hearings.get(finalist.deployment)
        return finalist.pooled if hearing is None else Pooled(judged_by(finalist.measurements, hearing))

    def prove(self, queue: Sequence[Deployment]) -> Comparison:
        """Prove the first two of ``queue``, or the next two while guard or limits hold those back."""
        comparison = self._proof(queue[:PROVEN])
        tried = list(comparison.candidates)
        for start in range(PROVEN, PROVEN * (1 + MORE_PROOFS), PROVEN):
            pair = queue[start : start + PROVEN]
            if not pair or comparison.interrupted or not _may_go_on(comparison):
                break
            for line in _why_more(comparison):
                self.reporter.note(line)
            more = self._proof(pair)
            if not more.conclusive:
                break
            # Kept, since the report must name what is faster and why it isn't recommended.
            comparison = replace(more, earlier=comparison.held_back)
            tried += more.candidates
        _check_conclusive(comparison)
        check_admissible(comparison, tried)
        return comparison

    def _proof(self, pair: Sequence[Deployment]) -> Comparison:
        plan = self.plan
        # Blocks number on from the selection's: the proof hears audio by which nothing was chosen.
        blocks = Blocks(plan.prove, plan.most, self.precision, seed=plan.seed + 1, goal=self.goal, first=plan.select)
        on_event = self._reported("proof", len(pair))
        comparison = compare(pair, self.baseline, self.runner, blocks=blocks, on_event=on_event)
        return replace(comparison, chosen=pair[0] if pair else None)

    def _reported(self, phase: Literal["selection", "proof"], candidates: int) -> Callable[[FinalistEvent], None]:
        def on_event(event: FinalistEvent) -> None:
            result = f"RTFx {event.measurement.rtfx:.1f}" if event.measurement else event.reason
            text = f"{event.deployment.describe()}: {result:.200}"
            left = self._left(event, phase, candidates)
            self.reporter.step(f"{phase}, block", event.block + 1, event.blocks, text, left)

        return on_event

    def _left(self, event: FinalistEvent, phase: Literal["selection", "proof"], candidates: int) -> Remaining | None:
        if self.time_left is None:
            return None
        self.time_left.measured(event.wall_s, event.measurement, baseline=event.deployment == self.baseline)
        if phase == "selection":
            return self.time_left.of_selection(event, candidates)
        return self.time_left.of_proof(event, candidates, self.plan)


def _may_go_on(comparison: Comparison) -> bool:
    """Whether others might be recommended instead: what is held back is no proof that nothing is faster."""
    if not comparison.conclusive or not comparison.nothing_is_faster:
        return False
    return bool(comparison.held_back or comparison.baseline.missed or not comparison.candidates)


def _why_more(comparison: Comparison) -> list[str]:
    """Lines for the terminal: what held the first two back."""
    held = [HeldBack.of(finalist).line() for finalist in comparison.candidates if not finalist.acceptable]
    return [*held, "Comparing the next best."]


def _check_conclusive(comparison: Comparison) -> None:
    if comparison.conclusive:
        return
    if comparison.interrupted:
        raise KeyboardInterrupt
    raise TrialError(
        "The baseline must be measured in two blocks at least to give an interval, but it was in "
        f"{comparison.blocks}. The study is kept: run the same command again."
    )
