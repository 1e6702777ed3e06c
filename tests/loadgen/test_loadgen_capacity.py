"""The search for capacity on probes whose truth is known."""

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.loadgen.capacity import Capacity, LoadRange, RunOutcome, find_capacity

WIDE = LoadRange(start=3.0, least=3.0 / 4096, most=3.0 * 4096)


def up_to(limit: float) -> Callable[[float], RunOutcome]:
    return lambda load: "met" if load <= limit else "missed"


def runs_of(capacity: Capacity, load: float | None) -> list[RunOutcome]:
    return [probe.outcome for probe in capacity.probes if probe.load == load]


@given(limit=st.floats(0.01, 5000))
def test_the_capacity_is_found_within_five_per_cent_and_confirmed(limit: float) -> None:
    capacity = find_capacity(up_to(limit), WIDE)
    assert capacity.ended == "found"
    assert capacity.load is not None
    assert capacity.above is not None
    assert capacity.load <= limit < capacity.above <= 1.05 * capacity.load * (1 + 1e-9)
    assert runs_of(capacity, capacity.load) == ["met", "met"]
    assert runs_of(capacity, capacity.above) == ["missed", "missed"]


@given(limit=st.integers(1, 3000), start=st.integers(1, 50))
def test_streams_are_whole(limit: int, start: int) -> None:
    capacity = find_capacity(up_to(limit), LoadRange(start=start, least=1, most=10_000, whole=True))
    assert capacity.load is not None
    assert capacity.above is not None
    assert capacity.load <= limit < capacity.above
    assert capacity.above - capacity.load <= max(1, 0.05 * capacity.load)
    assert all(probe.load == int(probe.load) >= 1 for probe in capacity.probes)


def test_a_server_that_keeps_no_load_has_none() -> None:
    capacity = find_capacity(up_to(0.0), LoadRange(start=8, least=1, most=100, whole=True))
    assert capacity.load is None
    assert capacity.above == 1
    assert capacity.ended == "none"
    assert [probe.load for probe in capacity.probes] == [8, 4, 2, 1, 1]


def test_a_server_that_keeps_every_load_is_not_bounded() -> None:
    capacity = find_capacity(up_to(math.inf), LoadRange(start=8, least=1, most=50, whole=True))
    assert (capacity.load, capacity.above, capacity.ended) == (50, None, "unbounded")
    assert runs_of(capacity, 50) == ["met", "met"]


def test_what_is_too_much_for_the_client_says_nothing_of_the_server() -> None:
    capacity = find_capacity(lambda load: "met" if load <= 10 else "client", WIDE)
    assert capacity.ended == "client"


def test_what_is_not_decided_does_not_count_as_met() -> None:
    capacity = find_capacity(lambda load: "met" if load <= 10 else "undecided", WIDE)
    assert capacity.ended == "found"
    assert capacity.load is not None
    assert 9.5 < capacity.load <= 10
    assert capacity.load is not None
    assert capacity.load <= 10


def test_one_unlucky_run_low_down_does_not_bound_the_capacity() -> None:
    unlucky = iter([True])

    def probe(load: float) -> RunOutcome:
        return "missed" if load <= 3.0 and next(unlucky, False) else up_to(100)(load)

    capacity = find_capacity(probe, WIDE)
    assert capacity.load is not None
    assert 95 <= capacity.load <= 100


@pytest.mark.parametrize("unlucky_run", range(1, 8))
def test_one_unlucky_run_anywhere_is_found_out(unlucky_run: int) -> None:
    calls = 0

    def probe(load: float) -> RunOutcome:
        nonlocal calls
        calls += 1
        return "missed" if calls == unlucky_run else up_to(50)(load)

    capacity = find_capacity(probe, WIDE)
    assert capacity.ended == "found"
    assert capacity.load is not None
    assert 50 / 1.05 <= capacity.load <= 50


def test_one_lucky_run_is_found_out() -> None:
    seen: set[float] = set()

    def probe(load: float) -> RunOutcome:
        lucky = 50 < load < 60 and load not in seen
        seen.add(load)
        return "met" if lucky else up_to(50)(load)

    capacity = find_capacity(probe, WIDE)
    assert capacity.ended == "found"
    assert capacity.load is not None
    assert capacity.load <= 50


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60)
def test_with_noise_near_the_edge_the_answer_is_near_it_and_the_search_ends(seed: int) -> None:
    draws = random.Random(seed)

    def probe(load: float) -> RunOutcome:
        chance = 1 / (1 + math.exp((math.log(load) - math.log(100)) / 0.03))
        return "met" if draws.random() < chance else "missed"

    capacity = find_capacity(probe, WIDE)
    assert len(capacity.probes) <= 40
    assert capacity.load is not None
    assert 75 <= capacity.load <= 135
    for load in {probe.load for probe in capacity.probes}:
        assert len(runs_of(capacity, load)) <= 3


def test_a_search_that_does_not_settle_ends_all_the_same() -> None:
    capacity = find_capacity(up_to(100), WIDE, most_probes=4)
    assert capacity.ended == "probes"
    assert len(capacity.probes) == 4


def test_what_a_probe_raises_is_passed_on() -> None:
    def probe(load: float) -> RunOutcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_capacity(probe, WIDE)
