"""Objectives and limits: what is best, what is allowed, and what of it a study remembers."""

from pathlib import Path

import pytest

from autotune.accuracy import Guard
from autotune.deployment import Deployment
from autotune.measure import Measurement, Pooled
from autotune.measure.measurement import ShardSample
from autotune.study.budget import EFFORTS, Budget
from autotune.study.candidates import StudyEvent, StudyResult
from autotune.study.goal import Goal
from autotune.study.storage import open_storage
from autotune.study.study import TuningStudy
from tests.study.synthetic_search import BASELINES, SyntheticRunner, ignore, measured, shipped_space, true_rtfx

SPACE = shipped_space(arrival="open")


class Trade(SyntheticRunner):
    """Large batches are fast, slow to answer, and large in memory."""

    def __call__(self, deployment: Deployment, hopeless_below: float = 0.0) -> Measurement:
        measurement = super().__call__(deployment, hopeless_below)
        size = 1 if deployment.engine == "funasr" else deployment.batch.max_size
        sample = measurement.shards[0].model_copy(update={"latencies_s": (0.1 * size, 0.1 * size)})
        return measurement.model_copy(update={"shards": (sample,), "peak_memory_bytes": 2**28 * (1 + size)})


def run(folder: Path, goal: Goal, trials: int = 24) -> StudyResult:
    storage = open_storage(folder / "s.journal")
    with TuningStudy.open(storage, name="t", space=SPACE, seed=1, identity={}, goal=goal) as study:
        return study.run(Trade(), Budget(trials=trials), baselines=BASELINES, on_event=ignore)


def latent(*latencies_s: float, rtfx: float = 50.0) -> Measurement:
    sample = ShardSample(shard=0, audio_s=100.0, processing_s=100 / rtfx, latencies_s=latencies_s)
    return measured(rtfx).model_copy(update={"shards": (sample,)})


def pooled(*measurements: Measurement) -> Pooled:
    return Pooled(measurements)


def test_what_exceeds_a_limit_is_a_result_but_never_the_best(tmp_path: Path) -> None:
    free = run(tmp_path / "free", Goal())
    assert free.best(1)[0].deployment.batch.max_size >= 4
    limited = run(tmp_path / "limited", Goal(p95_latency_s=0.25, max_memory_bytes=2**28 * 9))
    assert limited.best(1)[0].deployment.batch.max_size <= 2
    assert all(one.deployment.batch.max_size > 2 for one in limited.rejected)
    assert limited.rejected


def test_latency_is_an_objective(tmp_path: Path) -> None:
    result = run(tmp_path, Goal(objective="latency"))
    assert result.best(1)[0].deployment.batch.max_size == 1
    assert result.best(1)[0].relative == pytest.approx(result.baselines[0].relative)
    assert Goal(objective="latency").score(pooled(latent(0.5, 0.5))) == pytest.approx(2.0)


def test_streams_are_counted_by_what_the_machine_was_busy_for() -> None:
    assert Goal(objective="streams").score(pooled(latent(0.5, rtfx=40))) == 40.0


def test_limits_pool_latencies_and_take_the_highest_peak() -> None:
    goal = Goal(p95_latency_s=1.0, max_memory_bytes=10**9)
    quick, slow = latent(*[0.5] * 95), latent(*[3.0] * 5)
    assert goal.missed(pooled(quick, quick)) == []
    latency, memory = goal.limits(pooled(slow, quick.model_copy(update={"peak_memory_bytes": 2 * 10**9})))
    assert latency.got == pytest.approx(0.625, abs=0.2)
    assert memory.excess == pytest.approx(1.0)
    assert memory.describe() == "peak memory 1907 MiB, 954 MiB allowed"
    assert goal.limits(pooled(slow))[0].describe() == "p95 latency 3 s, 1 s allowed"
    assert goal.constraints(pooled(slow)) == {"ran": 0.0, "p95_latency_s": 2.0, "memory": 0.0}
    assert not goal.feasible(pooled(slow))
    assert goal.constraints(None) == {"ran": 1.0}


def test_another_limit_measures_nothing_again_but_another_score_does(tmp_path: Path) -> None:
    run(tmp_path, Goal(), 12)

    def again(goal: Goal) -> int:
        runner = Trade()
        storage = open_storage(tmp_path / "s.journal")
        with TuningStudy.open(storage, name="t", space=SPACE, seed=1, identity={}, goal=goal) as study:
            study.run(runner, Budget(trials=12), baselines=BASELINES, on_event=ignore)
        return len(runner.asked)

    assert again(Goal(p95_latency_s=5.0)) == 0
    assert again(Goal(objective="streams")) == 0
    assert again(Goal(objective="latency")) > 12


def test_goals_are_told_apart_by_their_keys() -> None:
    goals = [
        Goal(),
        Goal(objective="latency"),
        Goal(p95_latency_s=1),
        Goal(p95_latency_s=2),
        Goal(max_memory_bytes=1),
        Goal(guard=Guard(0.01)),
        Goal(guard=Guard(reference="fp32")),
    ]
    # As in studies of older versions, which compared with fp32 PyTorch alone.
    assert goals[-1].key == "0.005"
    assert len({goal.key for goal in goals}) == len(goals)
    assert Goal(p95_latency_s=0.5, max_memory_bytes=2**30).describe() == (
        "throughput, p95 latency ≤ 0.5 s, memory ≤ 1024 MiB"
    )


def test_the_pareto_front_holds_what_nothing_beats_in_everything(tmp_path: Path) -> None:
    result = run(tmp_path, Goal(), 40)
    assert len({one.deployment.batch.max_size for one in result.pareto}) >= 2
    front = [one.pooled for one in result.pareto]
    assert front[0].rtfx == max(one.pooled.rtfx for one in result.candidates)
    assert [one.rtfx for one in front] == sorted((one.rtfx for one in front), reverse=True)
    assert [one.p95_latency_s for one in front] == sorted((one.p95_latency_s for one in front), reverse=True)
    for one in (candidate.pooled for candidate in result.candidates):
        assert one in front or any(
            better.rtfx >= one.rtfx
            and better.p95_latency_s <= one.p95_latency_s
            and better.peak_memory_bytes <= one.peak_memory_bytes
            for better in front
        )


def test_it_ends_early_when_nothing_better_is_found(tmp_path: Path) -> None:
    """All deployments are equally fast: after 20 of them there is nothing to hope for."""

    def flat(deployment: Deployment, _: float = 0.0) -> Measurement:
        return measured(10.0 if deployment.engine == "funasr" else 50.0)

    events: list[StudyEvent] = []
    storage = open_storage(tmp_path / "s.journal")
    with TuningStudy.open(storage, name="t", space=SPACE, seed=1, identity={}) as study:
        result = study.run(flat, Budget(trials=60), baselines=BASELINES, on_event=events.append)
    assert result.early
    assert events[-1].kind == "early"
    assert events[-1].done == 2 + 1 + 20
    assert [Budget(trials=trials).patience for trials in (10, 80, 100)] == [20, 20, 25]
    assert Budget().patience is None
    assert EFFORTS["standard"].workload_shards >= 4


def test_what_won_elsewhere_is_tried_after_the_experts_and_kept_for_a_resumed_study(tmp_path: Path) -> None:
    space = shipped_space()
    elsewhere = [one for one in space.neighbours(space.experts()[0]) if one not in space.experts()]

    def run_with(transfers: list[Deployment], trials: int) -> list[tuple[str, Deployment]]:
        storage = open_storage(tmp_path / "s.journal")
        with TuningStudy.open(storage, name="t", space=space, seed=1, identity={}) as study:
            result = study.run(
                SyntheticRunner(), Budget(trials=trials), baselines=BASELINES, on_event=ignore, transfers=transfers
            )
        return [(one.role, one.deployment) for one in result.trials if one.role in ("expert", "transfer")]

    assert (
        run_with(elsewhere[:5], 14)
        == [
            *(("expert", one) for one in space.experts()[1:]),  # the first is the anchor
            *(("transfer", one) for one in elsewhere[:2]),
        ]
    )
    assert run_with(elsewhere[5:8], 18)[-1] == ("transfer", elsewhere[1])
    assert true_rtfx(elsewhere[0]) > 0
