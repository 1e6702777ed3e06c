"""Percentiles, rates, promises, saturation, and the verdict, on runs made by hand."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.loadgen.driver import Run
from autotune.loadgen.statistics import backlog, figures, nearest_rank
from autotune.loadgen.verdict import ReasonKind, reasons_against
from tests.loadgen.runs import request, steady


def kinds(run: Run, slo_s: float | None = 1.0) -> list[ReasonKind]:
    return [reason.kind for reason in reasons_against(figures(run, slo_s), interrupted=run.interrupted)]


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [nearest_rank(values, share) for share in (0.0, 0.5, 0.95, 0.99, 1.0)] == [1.0, 50.0, 95.0, 99.0, 100.0]
    assert nearest_rank(values[:20], 0.95) == 19.0
    assert nearest_rank([3.0], 0.95) == 3.0
    with pytest.raises(ValueError, match="at least one"):
        nearest_rank([], 0.5)


@given(values=st.lists(st.floats(0, 100), min_size=1, max_size=300), limit=st.floats(0, 100))
def test_the_percentile_keeps_a_limit_exactly_if_few_enough_exceed_it(values: list[float], limit: float) -> None:
    over = sum(value > limit for value in values)
    assert (nearest_rank(values, 0.95) <= limit) == (over * 20 <= len(values))


def test_errors_are_infinitely_late() -> None:
    found = figures(steady([0.1] * 94 + [math.inf] * 6), 1.0)
    assert found.latency_s.p50 == pytest.approx(0.1)
    assert found.latency_s.p95 is None
    assert found.latency_at_most_s.p95 is None
    assert (found.ok, found.timed_out, found.over_latency) == (94, 6, 6)
    assert found.promise == "missed"


def test_rates_are_over_the_time_in_which_load_was_offered() -> None:
    found = figures(steady([0.1] * 150 + [2.0] * 50), 1.0)
    assert found.offered_rate == pytest.approx(10.0)
    assert found.sent_rate == pytest.approx(10.0)
    assert found.goodput_rate == pytest.approx(7.5)
    assert found.answered_rate == pytest.approx(9.05)  # the last 19 came after the end
    assert found.offered_audio_s_per_s == pytest.approx(20.0)
    assert found.rtfx_served == pytest.approx(400 / 21.9)


@pytest.mark.parametrize(
    ("late", "count", "promise"),
    [
        (0, 90, "met"),
        (0, 89, "undecided"),
        (1, 130, "met"),
        (1, 129, "undecided"),
        (5, 100, "undecided"),
        (6, 100, "missed"),
        (1, 10, "missed"),
        (10, 398, "met"),
        (19, 398, "undecided"),
        (20, 398, "missed"),
    ],
)
def test_a_promise_is_met_only_where_that_is_shown(late: int, count: int, promise: str) -> None:
    run = steady([2.0] * late + [0.1] * (count - late))
    assert figures(run, 1.0).promise == promise
    assert ("too-few" in kinds(run)) == (promise == "undecided" or count < 90)
    assert figures(run, None).promise is None


def test_a_good_run_is_valid() -> None:
    assert kinds(steady([0.1] * 200)) == []
    assert kinds(steady([0.1] * 130), None) == []


def test_without_a_promise_the_percentile_must_be_known() -> None:
    assert kinds(steady([0.1] * 129), None) == ["too-few"]


def test_an_interrupted_run_is_not_valid() -> None:
    assert kinds(replace(steady([0.1] * 200), interrupted=True)) == ["interrupted"]


def test_a_client_that_sends_late_is_found_out() -> None:
    def late(lag_s: float, latency_s: float) -> Run:
        requests = tuple(request(number / 10, latency_s, lag_s=lag_s) for number in range(200))
        return Run(requests, 20.0, 0.1)

    assert kinds(late(0.009, 0.05)) == []
    assert kinds(late(0.011, 0.05)) == ["send-lag"]
    assert kinds(late(0.011, 0.4)) == []  # 5 % of 0.4 s are allowed
    assert kinds(late(0.021, 0.4)) == ["send-lag"]


def test_a_client_that_can_not_keep_the_rate_is_found_out() -> None:
    requests = tuple(request(number / 10, 0.1, lag_s=number / 100) for number in range(200))
    assert kinds(Run(requests, 20.0, 0.1)) == ["send-lag", "send-rate"]


def test_a_busy_client_is_found_out() -> None:
    assert kinds(replace(steady([0.1] * 200), client_cores=0.81)) == ["client-cpu"]


def test_requests_that_the_client_could_not_send_are_its_own_fault() -> None:
    requests = (*(request(number / 10) for number in range(199)), request(19.9, status="unsent"))
    assert kinds(Run(requests, 20.0, 0.1)) == ["client-resources"]


def test_many_failures_and_many_rejections_are_told() -> None:
    def with_status(status: str, count: int) -> list[ReasonKind]:
        good = [request(number / 10) for number in range(200 - count)]
        bad = [request(20 - (1 + number) / 10, status=status) for number in range(count)]  # type: ignore[arg-type]
        return kinds(Run((*good, *bad), 20.0, 0.1))

    assert "errors" in with_status("failed", 3)
    assert "errors" not in with_status("failed", 2)
    assert "errors" not in with_status("rejected", 10)
    assert with_status("rejected", 11) == ["errors"]


def queue(rate: float, service_s: float, period_s: float, seed: int) -> Run:
    """Poisson arrivals at one server with a constant service time, answered in their order."""
    draws = random.Random(seed)
    at_s = free_s = 0.0
    requests = []
    while (at_s := at_s + draws.expovariate(rate)) < period_s:
        free_s = max(free_s, at_s) + service_s
        requests.append(request(at_s, free_s - at_s))
    return Run(tuple(requests), period_s, 0.1)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40)
def test_a_queue_that_grows_is_saturated(seed: int) -> None:
    run = queue(rate=15.0, service_s=0.1, period_s=60.0, seed=seed)
    found = backlog(run.requests, run.period_s)
    assert found.saturated
    assert found.end > found.half_way
    assert found.answered_share < 0.97
    assert "saturated" in kinds(run, 100.0)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40)
def test_a_queue_that_does_not_grow_is_not(seed: int) -> None:
    run = queue(rate=4.0, service_s=0.1, period_s=60.0, seed=seed)
    assert not backlog(run.requests, run.period_s).saturated


def test_a_stall_in_the_middle_is_no_saturation() -> None:
    latencies_s = [0.1] * 100 + [5.0 - number / 10 for number in range(50)] + [0.1] * 150
    assert not backlog(steady(latencies_s).requests, 30.0).saturated


def test_what_timed_out_still_waits_and_what_was_rejected_does_not() -> None:
    waiting = [request(number / 10, 3.0, status="timeout") for number in range(100)]
    rejected = [request(number / 10, 0.01, status="rejected") for number in range(100)]
    assert backlog(waiting, 10.0).end == 100
    assert backlog(rejected, 10.0).end == 0


def test_with_few_requests_no_trend_is_claimed() -> None:
    found = backlog([request(number / 10, number / 10) for number in range(49)], 4.9)
    assert found.trend_p is None
    assert not found.saturated
