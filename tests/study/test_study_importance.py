"""What a parameter was worth: the one that decides comes first, and what can't be told apart is named together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.accuracy import Guard
from autotune.study.candidates import Candidate, candidates_of
from autotune.study.goal import Goal
from autotune.study.importance import ENOUGH, worth_of
from autotune.study.records import TrialRecord
from tests.deployment_example import example_deployment
from tests.study.synthetic_search import measured


def candidates(count: int = 32) -> list[Candidate]:
    """Batch size decides; readers don't matter; window and its overlap change together."""
    trials = []
    for number in range(count):
        base = example_deployment()
        size, readers, long = (1, 2, 4, 8)[number % 4], 1 + number // 4 % 2, bool(number // 8 % 2)
        chunking = base.chunking.model_copy(
            update={"window_s": 30.0 if long else 10.0, "overlap_s": 1.0 if long else 0.0}
        )
        deployment = example_deployment(
            batch=base.batch.model_copy(update={"max_size": size, "pad_to_s": float(number)}),
            readers=readers,
            chunking=chunking,
        )
        rtfx = 10.0 * size * (1.1 if long else 1.0) * (1 + 0.001 * (number % 3))
        trials.append(TrialRecord(number, "search", deployment, measured(rtfx), "complete", "", 1.0))
    return candidates_of(trials, Goal())


def test_what_decides_comes_first() -> None:
    worths = {worth.path: worth for worth in worth_of(candidates())}
    assert max(worths.values(), key=lambda worth: worth.share).path == "batch.max_size"
    assert worths["batch.max_size"].share > 5 * worths["readers"].share
    assert math.fsum(worth.share for worth in worths.values()) == pytest.approx(1.0)


def test_values_are_in_order_and_each_deployment_has_its_own() -> None:
    (size,) = (worth for worth in worth_of(candidates()) if worth.path == "batch.max_size")
    assert size.values == ("1", "2", "4", "8")
    assert len(size.points) == 32
    assert all(size.values[index] == str(one.deployment.batch.max_size) for index, one in size.points)


def test_what_changes_together_is_named_together() -> None:
    worths = {worth.path: worth for worth in worth_of(candidates())}
    assert worths["chunking.window_s"].with_it == ("chunking.overlap_s",)
    assert "chunking.overlap_s" not in worths


def test_what_never_changes_is_left_out() -> None:
    assert "engine" not in {worth.path for worth in worth_of(candidates())}


def test_few_deployments_say_nothing() -> None:
    assert worth_of(candidates()[: ENOUGH - 1]) == []
    assert worth_of([]) == []


@given(
    st.builds(
        Goal,
        objective=st.sampled_from(["throughput", "latency"]),
        p95_latency_s=st.none() | st.sampled_from([1e-05, 0.25, 0.5, 1.0, 12.5, 1e6, 123456.0]),
        max_memory_bytes=st.none() | st.integers(1, 2**50),
        guard=st.builds(
            Guard,
            st.sampled_from([0.0, 1e-05, 0.0005, 0.005, 0.02, 1.0, math.inf]),
            st.sampled_from(["baseline", "fp32"]),
        ),
    )
)
def test_a_goal_is_read_back_from_its_key(goal: Goal) -> None:
    assert Goal.of_key(goal.key) == goal


@pytest.mark.parametrize("key", ["", "x", "0.005-speed", "0.005-mem-", "latency"])
def test_what_is_no_key_gives_no_goal(key: str) -> None:
    assert Goal.of_key(key) is None
