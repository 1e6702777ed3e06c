from __future__ import annotations

import math
import random
import statistics
from pathlib import Path

import pytest

from autotune.errors import TrialCrashed, TrialError
from autotune.study.goal import Goal
from benchmarks.replay.replay import Noise, ReplayClock, ReplayRunner, Truth
from benchmarks.replay.table import Failure, Row, Table
from tests.benchmarks.synthetic_table import header, heard, row, synthetic_table
from tests.study.synthetic_search import BASELINES, measured, shipped_space, tiny_space

A, B, *_ = shipped_space().experts()
GOAL = Goal()


def table_of(*rows: Row) -> Table:
    return Table(header(), rows)


def runner(table: Table, seed: int = 1, **options: object) -> ReplayRunner:
    return ReplayRunner(table, random.Random(seed), **options)  # type: ignore[arg-type]


def test_recorded_repeats_are_drawn_and_charged() -> None:
    replay = runner(table_of(row(A, 10.0, wall_s=3.0), row(A, 11.0, repeat=1, wall_s=3.0)))
    found = [replay.trial(A, 0.0).rtfx for _ in range(40)]
    assert {round(value, 6) for value in found} == {10.0, 11.0}
    assert replay.clock() == pytest.approx(120.0)
    assert replay.measured == 40
    assert [replay(A, block).rtfx for block in range(4)]


def test_equal_seeds_replay_alike() -> None:
    table = table_of(row(A, 10.0), row(A, 11.0, repeat=1))
    first, second = ([replay.trial(A).rtfx for _ in range(20)] for replay in (runner(table), runner(table)))
    assert first == second


def test_failures_are_raised_as_what_they_were_and_charged() -> None:
    clock = ReplayClock()
    unknown = Row(B, 0, 2.0, failure=Failure(kind="ThingOfAnotherVersion", reason="it broke"))
    replay = runner(table_of(row(A, None, wall_s=4.0), unknown), clock=clock)
    with pytest.raises(TrialCrashed, match="SIGSEGV"):
        replay.trial(A)
    assert clock.seconds == 4.0
    with pytest.raises(TrialError, match="ThingOfAnotherVersion: it broke"):
        replay(B)
    assert replay.measured == 2


def test_what_was_not_recorded_is_told() -> None:
    with pytest.raises(KeyError, match="must be in the table"):
        runner(table_of(row(A, 10.0))).trial(B)


def test_a_hopeless_trial_costs_its_first_shard_alone() -> None:
    slow = measured(10.0)
    shards = tuple(slow.shards[0].model_copy(update={"shard": index}) for index in range(3))
    rows = (Row(A, 0, 40.0, slow.model_copy(update={"shards": shards})),)
    assert len(runner(Table(header(), rows)).trial(A, 11.0).shards) == 3
    replay = runner(Table(header(shards=3), rows))
    assert len(replay.trial(A, 9.0).shards) == 3
    assert replay.clock() == pytest.approx(40.0)
    assert len(replay.trial(A, 11.0).shards) == 1
    assert replay.clock() == pytest.approx(40.0 + 40.0 - 20.0)


def test_the_truth_is_the_median_on_the_log_scale() -> None:
    table = table_of(
        row(A, 10.0), row(A, 40.0, repeat=1), row(B, 30.0), row(BASELINES[0], 5.0), row(BASELINES[1], None)
    )
    truth = Truth.of(table, GOAL)
    assert truth.scores[A.key] == pytest.approx(20.0)
    assert truth.best == pytest.approx(30.0)
    assert truth.regret(A.key) == pytest.approx(1 / 3)
    assert truth.regret(B.key) == pytest.approx(0.0)
    assert truth.regret(None) == 1.0
    assert truth.ratio(A, BASELINES[0]) == pytest.approx(4.0)
    assert BASELINES[1].key not in truth.scores
    assert BASELINES[0].key not in truth.allowed
    assert set(truth.levelled(BASELINES[0]).scores.values()) == {truth.scores[BASELINES[0].key]}


def test_what_the_goal_does_not_allow_is_never_the_best() -> None:
    table = table_of(row(A, 30.0, accuracy=heard(190)), row(B, 10.0, accuracy=heard(0)))
    truth = Truth.of(table, GOAL)
    assert truth.best == pytest.approx(10.0)
    assert truth.regret(A.key) == 1.0


def test_without_noise_a_known_truth_is_measured_exactly() -> None:
    table = table_of(row(A, 10.0), row(A, 12.0, repeat=1), row(B, 30.0), row(B, 31.0, repeat=1))
    truth = Truth.of(table, GOAL)
    replay = runner(table, truth=truth)
    for deployment in (A, B):
        found = replay.trial(deployment)
        assert found.rtfx == pytest.approx(truth.scores[deployment.key])
        assert found.latencies_s[0] < found.latencies_s[1]


def test_noise_has_the_width_asked_for_and_the_recorded_tail(tmp_path: Path) -> None:
    recorded = synthetic_table(tmp_path / "t.jsonl", tiny_space(tmp_path), noise=0.02)
    stalled = [row(one, rtfx, repeat=repeat) for one in (A, B) for repeat, rtfx in enumerate((30.0, 20.0))]
    table = Table(recorded.header, (*recorded.rows, *stalled))
    noise = Noise.of(table, GOAL, 0.05)
    generator = random.Random(3)
    drawn = [noise.draw(generator) for _ in range(4000)]
    assert 1.4826 * statistics.median(map(abs, drawn)) == pytest.approx(0.05, rel=0.25)
    assert max(map(abs, drawn)) > 0.25
    assert max(map(abs, noise.shape)) <= 10.0
    assert Noise(0.0, noise.shape).draw(generator) == 0.0


def test_blocks_have_something_in_common_that_cancels_in_ratios(tmp_path: Path) -> None:
    table = synthetic_table(tmp_path / "t.jsonl", tiny_space(tmp_path))
    truth, noise = Truth.of(table, GOAL), Noise.of(table, GOAL, 0.10)
    one, other = BASELINES
    replay = runner(table, truth=truth, noise=noise)
    pairs = [(math.log(replay(one, block).rtfx), math.log(replay(other, block).rtfx)) for block in range(400)]
    first, second = zip(*pairs, strict=True)
    assert statistics.correlation(first, second) > 0.05
    ratio = statistics.fmean(a - b for a, b in pairs)
    assert ratio == pytest.approx(math.log(truth.ratio(one, other)), abs=0.04)


def test_noise_needs_repeats() -> None:
    with pytest.raises(ValueError, match="must hold repeats that differ"):
        Noise.of(table_of(row(A, 10.0), row(B, 20.0)), GOAL, 0.05)
