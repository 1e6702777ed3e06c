"""The guard in the search and among finalists: what is fast but hears worse is a result, never the winner."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from autotune.accuracy import Accuracy, Guard
from autotune.accuracy.record import ClipCount
from autotune.deployment import Deployment
from autotune.measure import Measurement
from autotune.proof.blocks import Blocks, compare
from autotune.proof.comparison import Comparison
from autotune.study.budget import Budget
from autotune.study.candidates import StudyResult
from autotune.study.goal import Goal
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
from tests.study.synthetic_search import BASELINES, SyntheticRunner, ignore, measured, shipped_space, true_rtfx

A, _, B, C = shipped_space().experts()
CLIPS = 200


def heard(wrong: int, *, clips: int = CLIPS) -> Accuracy:
    """Clips of ten characters, of which the reference has one wrong in each; in ``wrong`` of them there is one more."""
    counts = [ClipCount(f"c{index:03d}", 1 + (index < wrong), 1, 10) for index in range(clips)]
    return Accuracy(unit="cer", tokens="characters", utterances=clips, clips=tuple(counts), worst=())


SPACE = shipped_space(arrival="open")


class Listener(SyntheticRunner):
    """Batches of four and more are fast, and lose 2 %."""

    def __call__(self, deployment: Deployment, hopeless_below: float = 0.0) -> Measurement:
        measurement = super().__call__(deployment, hopeless_below)
        wrong = 40 if deployment.engine != "funasr" and deployment.batch.max_size >= 4 else 2
        return measurement.model_copy(update={"accuracy": heard(wrong)})


def run(
    folder: Path, runner: SyntheticRunner, guard: Guard | None = None, *, trials: int = 20, seed: int = 1
) -> StudyResult:
    with TuningStudy.open(
        open_storage(folder / f"s{seed}.journal"),
        name="test",
        space=SPACE,
        seed=seed,
        identity={"model": "x"},
        goal=Goal(guard=guard or Guard()),
    ) as study:
        return study.run(runner, Budget(trials=trials), baselines=BASELINES, on_event=ignore)


def test_what_hears_worse_is_never_the_best(tmp_path: Path) -> None:
    result = run(tmp_path, Listener())
    assert all(trial.deployment.batch.max_size < 4 for trial in result.best(99))
    assert result.best(1)
    assert result.rejected
    assert all(trial.deployment.batch.max_size >= 4 for trial in result.rejected)
    best = {one.deployment.key for one in result.best(99)}
    assert best.isdisjoint(one.deployment.key for one in result.rejected)
    assert all(trial.measurement is not None and trial.measurement.accuracy for trial in result.trials)


def test_the_search_turns_away_from_what_is_rejected(tmp_path: Path) -> None:
    later = [trial for seed in range(4) for trial in run(tmp_path, Listener(), trials=40, seed=seed).trials[20:]]
    rejected = [trial for trial in later if trial.deployment.batch.max_size >= 4]
    # Two thirds of the space, and three quarters of these trials without a guard. One study may end anywhere between
    # 0.2 and 0.5: its suggestions hang on the last bits of the CPU's floating point.
    assert len(rejected) < 0.5 * len(later)


def test_without_a_limit_the_fastest_wins(tmp_path: Path) -> None:
    result = run(tmp_path, Listener(), Guard(math.inf))
    assert result.rejected == []
    assert result.best(1)[0].deployment.batch.max_size >= 4
    guarded = StudyResult(result.trials, Goal())
    assert true_rtfx(result.best(1)[0].deployment) > 1.1 * true_rtfx(guarded.best(1)[0].deployment)


def test_another_allowance_measures_nothing_again(tmp_path: Path) -> None:
    first = run(tmp_path, Listener(), Guard(0.005), trials=12)
    runner = Listener()
    second = run(tmp_path, runner, Guard(0.05), trials=12)
    assert runner.asked == []
    assert [trial.deployment for trial in second.trials] == [trial.deployment for trial in first.trials]
    assert first.rejected
    assert second.rejected == []
    assert second.best(1)[0].pooled.rtfx >= first.best(1)[0].pooled.rtfx
    third = run(tmp_path, runner, Guard(0.05), trials=15)
    assert len({trial.deployment for trial in third.trials}) == 15
    assert len(set(runner.asked) - {trial.deployment for trial in second.trials}) == 3


def test_records_survive_the_journal(tmp_path: Path) -> None:
    result = run(tmp_path, Listener(), trials=4)
    storage = open_storage(tmp_path / "s1.journal")
    with TuningStudy.open(storage, name="test", space=SPACE, seed=1, identity={"model": "x"}) as study:
        assert study.records == result.trials
        assert study.name.endswith("-0.005-baseline")


class Machine:
    """Fixed speeds; what each deployment hears."""

    def __init__(self, speeds: dict[Deployment, float], wrong: dict[Deployment, int], *, clips: int = CLIPS) -> None:
        self.speeds = {BASELINES[1]: 10.0, **speeds}
        self.wrong = {BASELINES[1]: 5, **wrong}
        self.clips = clips
        self.calls = 0

    def __call__(self, deployment: Deployment, block: int = 0) -> Measurement:
        self.calls += 1
        measurement = measured(self.speeds[deployment] * (1 + 0.001 * (self.calls % 7)))
        return measurement.model_copy(update={"accuracy": heard(self.wrong[deployment], clips=self.clips)})


def compared(machine: Machine, *candidates: Deployment, allowed: float = 0.005) -> Comparison:
    blocks = Blocks(count=3, seed=1, goal=Goal(guard=Guard(allowed)))
    return compare(candidates, BASELINES[1], machine, blocks=blocks, on_event=ignore)


def test_a_finalist_must_pass_with_the_whole_interval() -> None:
    """A loses 2 %, B 0.45 % ± 0.3 %, C nothing: only C is proven."""
    result = compared(Machine({A: 40.0, B: 30.0, C: 20.0}, {A: 40, B: 9, C: 0}), A, B, C)
    assert result.winner.deployment == C
    assert [finalist.deployment for finalist in result.held_back] == [A, B]
    verdicts = [finalist.verdict for finalist in result.held_back]
    assert [verdict.outcome for verdict in verdicts if verdict] == ["rejected", "unclear"]
    assert not result.nothing_is_faster


def test_blocks_are_no_new_evidence() -> None:
    few = compared(Machine({B: 30.0}, {B: 9}), B)
    verdict = few.candidates[0].verdict
    one = Guard().verdict(heard(9))
    assert verdict is not None
    assert one is not None
    assert verdict.increase.high == pytest.approx(one.increase.high)
    assert verdict.accuracy.length == 3 * one.accuracy.length


def test_the_baseline_is_exempt_and_wins_if_nothing_passes() -> None:
    result = compared(Machine({A: 40.0, B: 30.0}, {A: 40, B: 30, BASELINES[1]: 100}), A, B)
    assert result.nothing_is_faster
    assert result.winner.deployment == BASELINES[1]
    assert result.winner.verdict is not None
    assert result.winner.verdict.outcome == "rejected"
    assert len(result.held_back) == 2


def test_without_the_guard_the_fastest_finalist_wins() -> None:
    result = compared(Machine({A: 40.0, C: 20.0}, {A: 40, C: 0}), A, C, allowed=math.inf)
    assert result.winner.deployment == A
    assert result.held_back == ()


def test_what_was_not_checked_is_not_held_back() -> None:
    machine = Machine({A: 40.0}, {A: 0})

    def deaf(deployment: Deployment, block: int) -> Measurement:
        return machine(deployment).model_copy(update={"accuracy": None})

    result = compare([A], BASELINES[1], deaf, blocks=Blocks(count=2), on_event=ignore)
    assert result.winner.deployment == A
    assert result.winner.verdict is None
