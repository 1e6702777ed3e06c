"""Choosing and proving: what is reported rests on blocks in which nothing was chosen; limits bind everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from autotune.deployment import Deployment
from autotune.errors import InfeasibleSloError, TrialCrashed
from autotune.measure import Measurement, Pooled
from autotune.measure.measurement import ShardSample
from autotune.proof.blocks import Blocks, compare
from autotune.proof.comparison import Comparison, Finalist, non_default_knobs
from autotune.proof.held_back import held_back, reason
from autotune.proof.misses import check_feasible
from autotune.proof.proof import LineUp, ProofPlan, better_baseline, confirm, line_up
from autotune.reporting import Silent
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from autotune.study.records import Role, TrialRecord
from tests.proof.outcomes import heard, variant
from tests.study.synthetic_search import BASELINES, ignore, measured

BASE = BASELINES[1]
A, B, C, D, E, F = (variant(size) for size in (1, 2, 4, 8, 16, 32))
PLAN = ProofPlan(finalists=3, select=2, prove=4, most=4, seed=1)


class Machine:
    """Exact figures of each deployment, and what is different in some block."""

    def __init__(self, speeds: dict[Deployment, float]) -> None:
        self.speeds = {BASE: 20.0, **speeds}
        self.luck: dict[tuple[Deployment, int], float] = {}
        self.broken: set[tuple[Deployment, int]] = set()
        self.latency_s: dict[Deployment, float] = {}
        self.memory: dict[Deployment, int] = {}
        self.wrong: dict[Deployment, int] = {}
        self.stop_at: int | None = None
        self.asked: list[tuple[Deployment, int]] = []

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        if len(self.asked) == self.stop_at:
            self.stop_at = None
            raise KeyboardInterrupt
        self.asked.append((deployment, block))
        if (deployment, block) in self.broken:
            raise TrialCrashed("killed by SIGSEGV", exit_code=-11)
        factor = self.luck.get((deployment, block), 1.0)
        rtfx, latency_s = self.speeds[deployment] * factor, self.latency_s.get(deployment, 1.0) / factor
        sample = ShardSample(shard=0, audio_s=100.0, processing_s=100.0 / rtfx, latencies_s=(latency_s, latency_s))
        update = {"shards": (sample,), "accuracy": heard(self.wrong.get(deployment, 0))}
        return measured(rtfx, memory=self.memory.get(deployment, 10**9)).model_copy(update=update)

    def study(self, goal: Goal | None = None, *, interrupted: bool = False) -> StudyResult:
        """Everything measured once, as block -1."""
        goal, trials = goal or Goal(), []
        anchor = goal.score(Pooled((self(BASE, -1),)))
        for number, deployment in enumerate(self.speeds):
            role: Role = "baseline" if deployment.engine == "funasr" else "search"
            measurement = self(deployment, -1)
            trials.append(TrialRecord(number, role, deployment, measurement, "complete", "", 1.0, anchor=anchor))
        self.asked.clear()
        return StudyResult(tuple(trials), goal=goal, interrupted=interrupted)

    def confirmed(
        self, goal: Goal | None = None, *, plan: ProofPlan = PLAN, interrupted: bool = False
    ) -> tuple[StudyResult, Comparison]:
        study = self.study(goal, interrupted=interrupted)
        return study, confirm(study, self, Silent(), plan)

    def blocks_of(self, deployment: Deployment) -> list[int]:
        return [block for asked, block in self.asked if asked == deployment]


def test_the_proof_has_blocks_of_its_own_and_hears_other_audio_first() -> None:
    machine = Machine({A: 60.0, B: 50.0, C: 40.0, D: 30.0})
    _, found = machine.confirmed()
    assert found.winner.deployment == A
    assert machine.blocks_of(A) == machine.blocks_of(B) == machine.blocks_of(BASE) == [0, 1, 2, 3, 4, 5]
    assert machine.blocks_of(C) == [0, 1]
    assert machine.blocks_of(D) == []
    assert found.blocks == 4
    assert len(found.winner.measurements) == 4


def test_the_luck_that_chose_a_winner_is_not_reported() -> None:
    """B is chosen since it was twice as fast while choosing; what is reported of it is what it is."""
    machine = Machine({A: 61.0, B: 60.0})
    machine.luck = {(B, 0): 2.0, (B, 1): 2.0}
    _, found = machine.confirmed()
    assert found.winner.deployment == B
    assert found.winner.speedup.median == pytest.approx(3.0)
    assert found.winner.rtfx.median == pytest.approx(60.0)


def test_the_runner_up_wins_only_if_the_chosen_one_may_not() -> None:
    lucky = Machine({A: 60.0, B: 50.0})
    lucky.luck = {(B, block): 2.0 for block in range(2, 6)}
    assert lucky.confirmed()[1].winner.deployment == A
    failing = Machine({A: 60.0, B: 50.0})
    failing.broken = {(A, 3)}
    _, found = failing.confirmed()
    assert found.winner.deployment == B
    assert [finalist.deployment for finalist in found.dropped] == [A]
    harmful = Machine({A: 60.0, B: 50.0})
    study = harmful.study()
    harmful.wrong = {A: 40}
    found = confirm(study, harmful, Silent(), replace(PLAN, select=0))
    assert found.winner.deployment == B
    assert [one.deployment for one in held_back(study, found)] == [A]


def test_equals_have_one_chance_to_look_faster() -> None:
    """The chosen one is as fast as the baseline, and the runner-up has luck in the proof: nothing is claimed."""
    machine = Machine({A: 20.0, B: 20.0})
    machine.luck = {(A, 0): 1.1, (A, 1): 1.1, **{(B, block): 1.3 for block in range(2, 6)}}
    _, found = machine.confirmed()
    assert found.chosen == A
    assert found.nothing_is_faster


def test_what_fails_while_choosing_is_not_proven() -> None:
    machine = Machine({A: 60.0, B: 50.0, C: 40.0})
    machine.broken = {(A, 1)}
    _, found = machine.confirmed()
    assert found.winner.deployment == B
    assert machine.blocks_of(A) == [0, 1]
    assert {finalist.deployment for finalist in found.candidates} == {B, C}


def test_if_both_fail_in_the_proof_the_next_are_proven() -> None:
    machine = Machine({A: 60.0, B: 50.0, C: 40.0})
    machine.broken = {(A, 2), (B, 2)}
    _, found = machine.confirmed()
    assert found.winner.deployment == C


def test_what_hears_worse_while_choosing_comes_last() -> None:
    machine = Machine({A: 60.0, B: 50.0, C: 40.0})
    study = machine.study()
    machine.wrong = {A: 40}
    found = confirm(study, machine, Silent(), PLAN)
    assert found.winner.deployment == B
    assert {finalist.deployment for finalist in found.candidates} == {B, C}


def test_a_single_finalist_needs_no_choice() -> None:
    machine = Machine({A: 60.0})
    _, found = machine.confirmed()
    assert machine.blocks_of(A) == [2, 3, 4, 5]
    assert found.winner.deployment == A


def test_a_stopped_study_proves_its_best_alone() -> None:
    machine = Machine({A: 60.0, B: 50.0})
    _, found = machine.confirmed(interrupted=True)
    assert {deployment for deployment, _ in machine.asked} == {A, BASE}
    assert found.blocks == 2


@pytest.mark.parametrize("stop_at", [0, 5, 8])
def test_stopped_while_choosing_proves_the_best_so_far(stop_at: int) -> None:
    machine = Machine({A: 60.0, B: 50.0, C: 40.0})
    study = machine.study()
    machine.stop_at = stop_at
    found = confirm(study, machine, Silent(), replace(PLAN, select=4))
    assert found.winner.deployment == A
    assert found.blocks == 2
    assert not found.interrupted
    assert {finalist.deployment for finalist in found.candidates} == {A}


def test_stopped_in_the_proof_leaves() -> None:
    machine = Machine({A: 60.0, B: 50.0})
    study = machine.study()
    machine.stop_at = 8
    with pytest.raises(KeyboardInterrupt):
        confirm(study, machine, Silent(), PLAN)


def plainer(deployment: Deployment) -> Deployment:
    """With the weights that FunASR's own recipe has."""
    return Deployment.model_validate(deployment.model_dump() | {"weights": "u8"})


def test_the_simplest_near_tie_is_a_finalist_too() -> None:
    """It wins only if it can't be told from the best."""
    simple, simple_and_slow = plainer(A), plainer(B)
    assert non_default_knobs(simple) < non_default_knobs(A)
    machine = Machine({A: 60.0, B: 59.9, C: 59.8, D: 59.0, simple: 58.0, simple_and_slow: 50.0})
    assert line_up(machine.study(), 3) == LineUp((A, B, C, simple), (D, simple_and_slow))
    assert line_up(machine.study(), 5) == LineUp((A, B, C, D, simple), (simple_and_slow,))
    assert machine.confirmed()[1].winner.deployment == A
    machine.luck = {(simple, 0): 1.05, (simple, 1): 0.97}
    assert machine.confirmed()[1].winner.deployment == simple
    assert Machine({A: 60.0, simple: 50.0}).confirmed()[1].winner.deployment == A


def test_a_winner_that_is_as_simple_has_no_companion() -> None:
    machine = Machine({A: 60.0, B: 59.0, C: 58.5, D: 58.0})
    assert line_up(machine.study(), 2) == LineUp((A, B), (C, D))


def noisy(spread: float) -> Machine:
    machine = Machine({A: 60.0})
    machine.luck = {(A, block): 1 + spread * (-1) ** block for block in range(20)}
    return machine


@pytest.mark.parametrize(("spread", "blocks"), [(0.0, 3), (0.02, 11), (0.2, 12)])
def test_there_are_more_blocks_until_the_interval_is_narrow(spread: float, blocks: int) -> None:
    """±2 % alternating needs eleven: t × s / √n falls below 1.5 % there."""
    found = compare([A], BASE, noisy(spread), blocks=Blocks(3, 12), on_event=ignore)
    assert found.blocks == blocks


def test_a_clear_difference_does_not_end_the_blocks() -> None:
    """Three times as fast, but wide: the width decides, not the significance."""
    found = compare([A], BASE, noisy(0.2), blocks=Blocks(3, 12), on_event=ignore)
    assert found.winner.speedup.low > 1
    assert found.blocks == 12


def test_fewer_blocks_at_most_than_at_least_are_refused() -> None:
    with pytest.raises(ValueError, match="most must be at least the 4 blocks"):
        Blocks(4, 3)


def test_latency_is_compared_where_it_is_the_objective() -> None:
    goal = Goal(objective="latency")
    machine = Machine({A: 60.0, B: 50.0})
    machine.latency_s = {A: 0.5, B: 0.25}
    study, found = machine.confirmed(goal)
    assert found.winner.deployment == B
    assert found.winner.speedup.median == pytest.approx(4.0)
    assert "has a shorter p95 latency than FunASR's default" in reason(found, held_back(study, found), "latency")


LATENCY = Goal(p95_latency_s=0.5)


class Noted(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str, *, loud: bool = False) -> None:
        assert not loud
        self.notes.append(text)


def test_beyond_a_limit_is_held_back_and_told() -> None:
    """A and B keep it in their trials, but not in the blocks."""
    machine = Machine({A: 60.0, B: 50.0, C: 40.0, BASE: 20.0})
    machine.latency_s = {A: 0.4, B: 0.4, C: 0.4, BASE: 0.45}
    study = machine.study(LATENCY)
    machine.latency_s |= {A: 0.61, B: 0.61}
    reporter = Noted()
    found = confirm(study, machine, reporter, replace(PLAN, select=0))
    assert found.winner.deployment == C
    held = held_back(study, found)
    assert reporter.notes == [held[0].line(), held[1].line(), "Comparing the next best."]
    assert [one.deployment for one in held] == [A, B]
    assert held[0].describe() == "p95 latency 0.61 s, 0.5 s allowed"
    assert not held[0].inaccurate
    assert "p95 latency 0.4 s, 0.5 s allowed" in reason(found, held, "throughput")


def test_the_baseline_is_recommended_if_only_the_limits_hold_back() -> None:
    machine = Machine({A: 60.0, BASE: 20.0})
    machine.latency_s = {A: 0.4, BASE: 0.45}
    study = machine.study(LATENCY)
    machine.latency_s[A] = 0.61
    found = confirm(study, machine, Silent(), PLAN)
    assert found.nothing_is_faster
    told = reason(found, held_back(study, found), "throughput")
    assert told.startswith("1 faster deployment was held back by the limits (1 beyond them).")


def test_a_baseline_beyond_the_limits_is_not_recommended_even_if_it_is_faster() -> None:
    machine = Machine({A: 10.0, B: 9.0, BASE: 20.0})
    machine.memory = {BASE: 3 * 2**30, A: 2**30, B: 2**30}
    study, found = machine.confirmed(Goal(max_memory_bytes=2 * 2**30))
    assert found.winner.deployment == A
    assert not found.winner.faster
    told = reason(found, held_back(study, found), "throughput")
    assert "FunASR's default does not keep what was asked for (peak memory 3072 MiB, 2048 MiB allowed)" in told
    assert "not proven that it is faster than the default" in told


def test_a_baseline_within_the_limits_goes_before_a_faster_one() -> None:
    machine = Machine({A: 60.0, BASELINES[0]: 10.0})
    machine.memory = {BASE: 3 * 2**30}
    assert better_baseline(machine.study(Goal(max_memory_bytes=2 * 2**30))) == BASELINES[0]
    assert better_baseline(machine.study()) == BASE


def test_nothing_feasible_names_the_nearest_miss_and_what_binds() -> None:
    machine = Machine({A: 60.0, B: 50.0})
    machine.latency_s = {A: 0.9, B: 0.61, BASE: 2.0}
    machine.memory = {B: 2**30 + 2**20}
    with pytest.raises(InfeasibleSloError) as caught:
        machine.confirmed(Goal(p95_latency_s=0.5, max_memory_bytes=2**30))
    message = str(caught.value)
    assert f"nearest miss is {B.describe()}: p95 latency 0.61 s, 0.5 s allowed; peak memory 1025 MiB" in message
    assert "P95 latency binds" in message
    assert "p95 latency in 3, memory in 1" in message
    assert "--slo p95_latency_s must allow 0.61 s" in message
    assert machine.asked == []


def test_what_is_within_the_limits_but_hears_worse_is_a_miss_by_accuracy() -> None:
    machine = Machine({A: 60.0})
    machine.wrong = {A: 40}
    machine.latency_s = {BASE: 9.0, A: 0.1}
    with pytest.raises(InfeasibleSloError, match=r"\+2.00 points\), 0.50 points allowed. Accuracy binds.*--max-cer"):
        machine.confirmed(LATENCY)


def test_what_the_proof_disproves_is_infeasible_too() -> None:
    machine = Machine({A: 60.0, B: 50.0, C: 40.0})
    machine.latency_s = {BASE: 9.0, A: 0.4, B: 0.4, C: 0.4}
    study = machine.study(LATENCY)
    machine.latency_s |= {A: 0.7, B: 0.8, C: 0.6}
    with pytest.raises(InfeasibleSloError) as caught:
        confirm(study, machine, Silent(), PLAN)
    assert "in the finalists' blocks" in str(caught.value)
    assert C.describe() in str(caught.value)
    assert "p95 latency in 4" in str(caught.value)


def test_without_limits_nothing_is_infeasible() -> None:
    machine = Machine({A: 60.0})
    machine.wrong = {A: 40}
    assert machine.confirmed()[1].nothing_is_faster


def trial(
    number: int, role: Role, deployment: Deployment, measurement: Measurement, *, anchor: float = 20.0
) -> TrialRecord:
    return TrialRecord(number, role, deployment, measurement, "complete", "", 1.0, anchor=anchor)


def figures(latencies_s: Sequence[float], *, memory: int = 2**30, wrong: int = 0, rtfx: float = 60.0) -> Measurement:
    sample = ShardSample(shard=0, audio_s=100.0, processing_s=100.0 / rtfx, latencies_s=tuple(latencies_s))
    return measured(rtfx, memory=memory).model_copy(update={"shards": (sample,), "accuracy": heard(wrong)})


@pytest.mark.parametrize(
    ("trials", "missed"),
    [
        ((figures([0.4] * 40), figures([0.9])), ""),  # the second alone misses
        ((figures([0.4] * 40), figures([0.9] * 9)), "p95 latency 0.9 s, 0.5 s allowed"),
        ((figures([0.4]), figures([0.4], memory=3 * 2**30)), "peak memory 3072 MiB, 2048 MiB allowed"),
        ((figures([0.4], wrong=13), figures([0.4], wrong=4)), ""),  # the first alone hears too badly
        ((figures([0.4], wrong=13), figures([0.4], wrong=9)), "CER 10.55 % (+0.55 points)"),
    ],
)
def test_limits_are_kept_or_missed_by_pooled_figures_wherever_they_are_judged(
    trials: tuple[Measurement, Measurement], missed: str
) -> None:
    goal = Goal(p95_latency_s=0.5, max_memory_bytes=2 * 2**30)
    base = figures([9.0], rtfx=20.0)
    study = StudyResult(
        (trial(0, "baseline", BASE, base), *(trial(number, "search", A, trials[number - 1]) for number in (1, 2))), goal
    )
    finalist = Finalist(A, trials, (3.0, 3.0), goal=goal)
    comparison = Comparison(Finalist(BASE, (base, base), (1.0, 1.0), goal=goal), (), (), 2, False)
    (candidate,) = study.candidates
    assert candidate.feasible == (not missed)
    assert line_up(study, 1).finalists == (() if missed else (A,))
    assert finalist.pooled == candidate.pooled
    held = {one.deployment: one for one in held_back(study, comparison)}
    if not missed:
        check_feasible(study)
        assert not finalist.missed
        return
    with pytest.raises(InfeasibleSloError) as caught:
        check_feasible(study)
    assert f"nearest miss is {A.describe()}: {missed}" in str(caught.value)
    assert missed in held[A].describe()
    assert held[A].limits == finalist.missed
    assert not finalist.acceptable


def test_every_look_at_a_baseline_counts_for_its_limits_and_its_first_for_its_speed() -> None:
    """The looks at the anchor find a slower machine, on which the other baseline was never measured."""
    looks = [figures([0.4], rtfx=rtfx) for rtfx in (20.0, 8.0, 8.0)]
    trials = [trial(number, "anchor" if number else "baseline", BASE, look) for number, look in enumerate(looks)]
    other = trial(3, "baseline", BASELINES[0], figures([0.4], rtfx=10.0))
    assert better_baseline(StudyResult((*trials, other))) == BASE
    hungry = trial(4, "anchor", BASE, figures([0.4], memory=3 * 2**30))
    limited = Goal(max_memory_bytes=2 * 2**30)
    assert better_baseline(StudyResult((*trials, other), limited)) == BASE
    assert better_baseline(StudyResult((*trials, other, hungry), limited)) == BASELINES[0]


def test_what_is_held_back_is_compared_with_the_trials_that_the_study_ranks_by() -> None:
    """The machine halved its speed while A was measured first, so that trial doesn't count: B is slower than A."""
    slow = figures([0.4], rtfx=10.0)
    trials = (
        trial(0, "baseline", BASE, figures([0.4], rtfx=20.0)),
        trial(1, "search", A, figures([0.4], rtfx=30.0)),
        trial(2, "anchor", BASE, slow),
        trial(3, "anchor", BASE, slow, anchor=10.0),
        trial(4, "recheck", A, figures([0.4], rtfx=30.0), anchor=10.0),
        trial(5, "search", B, figures([0.4], rtfx=25.0, wrong=40), anchor=10.0),
    )
    winner = Finalist(A, (figures([0.4], rtfx=30.0),) * 2, (3.0, 3.0))
    comparison = Comparison(Finalist(BASE, (slow, slow), (1.0, 1.0)), (winner,), (), 2, False)
    assert held_back(StudyResult(trials), comparison) == []
