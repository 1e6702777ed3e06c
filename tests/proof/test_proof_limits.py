"""Limits bind everybody: finalists, what is held back, and the baseline; each by its pooled figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from autotune.deployment import Deployment
from autotune.errors import InfeasibleSloError
from autotune.measure import Measurement
from autotune.measure.measurement import ShardSample
from autotune.proof.comparison import Comparison, Finalist
from autotune.proof.held_back import held_back, reason
from autotune.proof.misses import check_feasible
from autotune.proof.proof import better_baseline, confirm, line_up
from autotune.reporting import Silent
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from autotune.study.records import Role, TrialRecord
from tests.proof.machine import BASE, PLAN, A, B, C, Machine
from tests.proof.outcomes import heard
from tests.study.synthetic_search import BASELINES, measured

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
    proven = Finalist(BASE, (base, base), (1.0, 1.0), goal=goal)
    comparison = Comparison(baseline=proven, candidates=(), dropped=(), blocks=2, interrupted=False)
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
    proven = Finalist(BASE, (slow, slow), (1.0, 1.0))
    comparison = Comparison(baseline=proven, candidates=(winner,), dropped=(), blocks=2, interrupted=False)
    assert held_back(StudyResult(trials), comparison) == []
