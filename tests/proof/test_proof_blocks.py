from __future__ import annotations

import math
import random

import pytest

from autotune.deployment import Deployment
from autotune.errors import TrialCrashed
from autotune.measure import Measurement
from autotune.proof.blocks import Blocks, FinalistEvent, compare
from autotune.proof.comparison import Comparison, Finalist, preferred
from tests.study.synthetic_search import BASELINES, ignore, measured, shipped_space

BASELINE = BASELINES[1]
A, _, B, C = shipped_space().experts()
"""onnx-int8:s8, torchscript, pytorch."""


class Machine:
    """Speeds and memory by deployment; it gets slower all the time, and every call is recorded."""

    def __init__(self, speeds: dict[Deployment, float], *, noise: float = 0.01, drift: float = 0.0) -> None:
        self.speeds = {BASELINE: 10.0, **speeds}
        self.memory: dict[Deployment, int] = {}
        self.calls: list[Deployment] = []
        self.fails: dict[Deployment, int] = {}
        self._noise, self._drift = noise, drift
        self._generator = random.Random(5)

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        self.calls.append(deployment)
        if self.calls.count(deployment) == self.fails.get(deployment):
            raise TrialCrashed("killed by SIGSEGV", exit_code=-11)
        factor = math.exp(self._generator.gauss(0, self._noise) - self._drift * len(self.calls))
        return measured(self.speeds[deployment] * factor, memory=self.memory.get(deployment, 10**9))


def run(machine: Machine, *candidates: Deployment, blocks: int = 4, seed: int = 1) -> Comparison:
    return compare(candidates, BASELINE, machine, blocks=Blocks(blocks, seed=seed), on_event=ignore)


def test_the_fastest_wins_and_every_measurement_is_kept() -> None:
    machine = Machine({A: 30.0, B: 20.0, C: 12.0})
    events: list[FinalistEvent] = []
    result = compare([C, A, B], BASELINE, machine, blocks=Blocks(4, seed=1), on_event=events.append)
    assert result.winner.deployment == A
    assert result.runner_up is not None
    assert result.runner_up.deployment == B
    assert [finalist.deployment for finalist in result.candidates] == [A, B, C]
    assert result.winner.speedup.low < 3.0 < result.winner.speedup.high
    assert result.winner.rtfx.median == pytest.approx(30, rel=0.03)
    assert all(len(finalist.measurements) == 4 for finalist in (*result.candidates, result.baseline))
    assert result.winner.measurements[0].texts
    assert result.conclusive
    assert not result.nothing_is_faster
    assert [event.block for event in events] == [block for block in range(4) for _ in range(4)]


def test_every_block_has_everything_in_its_own_order() -> None:
    machine = Machine({A: 30.0, B: 20.0, C: 12.0})
    run(machine, A, B, C, blocks=6)
    blocks = [machine.calls[start : start + 4] for start in range(0, 24, 4)]
    assert all(set(block) == {BASELINE, A, B, C} for block in blocks)
    assert len({tuple(item.key for item in block) for block in blocks}) > 2
    same = Machine({A: 30.0, B: 20.0, C: 12.0})
    run(same, A, B, C, blocks=6)
    assert same.calls == machine.calls


def test_nothing_is_faster() -> None:
    result = run(Machine({A: 9.0, B: 10.0}), A, B)
    assert result.nothing_is_faster
    assert result.winner.deployment == BASELINE
    assert result.winner.speedup.median == 1
    assert result.runner_up is not None


def test_noise_is_no_speed_up() -> None:
    result = run(Machine({A: 11.0}, noise=0.3), A, blocks=3)
    assert result.candidates[0].speedup.low < 1
    assert result.nothing_is_faster


def test_drift_cancels_in_the_ratio() -> None:
    """The machine loses 2 % with every measurement: RTFx falls by a third, the ratio stays."""
    result = run(Machine({A: 20.0}, noise=0.0, drift=0.02), A, blocks=8)
    assert result.winner.speedup.median == pytest.approx(2.0, rel=0.03)
    rtfx, ratio = result.winner.rtfx, result.winner.speedup
    assert ratio.high / ratio.low < rtfx.high / rtfx.low


def test_a_tie_goes_to_less_memory_then_to_fewer_knobs() -> None:
    machine = Machine({A: 30.2, B: 30.0})
    machine.memory = {A: 3 * 10**9, B: 10**9}
    assert run(machine, A, B).winner.deployment == B
    plain = A.model_copy(update={"weights": "u8"})
    odd = plain.model_copy(
        update={
            "session_options": {**plain.session_options, "allow_spinning": False, "graph_optimization_level": "basic"}
        }
    )
    alike = Machine({plain: 30.0, odd: 30.2})
    alike.memory = {plain: 1_000_000_000, odd: 999_000_000}
    assert run(alike, odd, plain).winner.deployment == plain


def test_the_memory_of_a_tie_is_the_highest_peak() -> None:
    """A needs less in most blocks, but more in one."""
    peaks = {A: (1, 1, 1, 3), B: (2, 2, 2, 2)}
    tied = [
        Finalist(deployment, tuple(measured(30.0, memory=peak * 10**9) for peak in peaks[deployment]), (3.0,) * 4)
        for deployment in (A, B)
    ]
    assert preferred(tied).deployment == B


def test_memory_does_not_buy_a_slower_winner() -> None:
    machine = Machine({A: 30.0, B: 20.0}, noise=0.15)
    machine.memory = {A: 3 * 10**9, B: 10**9}
    result = run(machine, A, B, blocks=8)
    assert result.winner.deployment == A


def test_a_failing_candidate_is_dropped_with_its_reason() -> None:
    machine = Machine({A: 30.0, B: 20.0})
    machine.fails = {A: 2}
    result = run(machine, A, B)
    assert result.winner.deployment == B
    assert [finalist.deployment for finalist in result.dropped] == [A]
    assert result.dropped[0].dropped == "TrialCrashed: killed by SIGSEGV"
    assert len(result.dropped[0].measurements) == 1
    assert machine.calls.count(A) == 2


def test_an_unexpected_error_costs_one_candidate_alone() -> None:
    machine = Machine({A: 30.0})
    result = run(machine, A, B)
    assert result.winner.deployment == A
    assert result.dropped[0].dropped.startswith("KeyError")


def test_a_block_without_its_baseline_does_not_count() -> None:
    machine = Machine({A: 30.0})
    machine.fails = {BASELINE: 2}
    result = run(machine, A)
    assert result.blocks == 3
    assert len(result.winner.measurements) == 3
    assert result.winner.deployment == A


@pytest.mark.parametrize(("calls", "blocks", "conclusive"), [(0, 0, False), (5, 1, False), (7, 2, True), (6, 2, True)])
def test_interrupted(calls: int, blocks: int, conclusive: bool) -> None:
    machine = Machine({A: 30.0, B: 20.0})

    def stopped(deployment: Deployment, block: int) -> Measurement:
        if len(machine.calls) == calls:
            raise KeyboardInterrupt
        return machine(deployment)

    result = compare([A, B], BASELINE, stopped, blocks=Blocks(4, seed=1), on_event=ignore)
    assert result.interrupted
    assert result.blocks == blocks
    assert result.conclusive == conclusive
    assert result.winner.deployment == (A if conclusive else BASELINE)


def test_the_baseline_and_repeats_among_the_candidates_are_left_out() -> None:
    machine = Machine({A: 30.0})
    result = run(machine, A, BASELINE, A, blocks=2)
    assert [finalist.deployment for finalist in result.candidates] == [A]
    assert len(machine.calls) == 4


def test_no_candidates_at_all() -> None:
    result = run(Machine({}), blocks=2)
    assert result.nothing_is_faster
    assert result.runner_up is None


def test_one_block_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        run(Machine({A: 1.0}), A, blocks=1)
