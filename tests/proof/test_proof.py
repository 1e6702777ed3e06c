"""Choosing and proving: what is reported rests on blocks in which nothing was chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autotune.deployment import Deployment
from autotune.proof.blocks import Blocks, compare
from autotune.proof.comparison import non_default_knobs
from autotune.proof.held_back import held_back, reason
from autotune.proof.proof import LineUp, confirm, line_up
from autotune.reporting import Silent
from autotune.study.goal import Goal
from tests.proof.machine import BASE, PLAN, A, B, C, D, Machine
from tests.study.synthetic_search import ignore


def test_the_proof_has_blocks_of_its_own_and_hears_other_audio_first() -> None:
    machine = Machine({A: 60.0, B: 50.0, C: 40.0, D: 30.0})
    _, found = machine.confirmed()
    assert found.winner.deployment == A
    assert machine.blocks_of(A) == machine.blocks_of(B) == [0, 1, 2, 3, 4, 5]
    assert machine.blocks_of(BASE) == [2, 3, 4, 5], "choosing among candidates needs no baseline"
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
