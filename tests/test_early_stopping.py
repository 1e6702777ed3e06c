"""MLPerf's early stopping, against its own published numbers."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.early_stopping import Stopping, at_most, fewest, most_over


@pytest.mark.parametrize(
    ("over", "needed"),
    [(0, (44, 90, 459)), (1, (64, 130, 662)), (10, (197, 398, 2010))],
)
def test_the_fewest_requests_are_those_of_the_published_table(over: int, needed: tuple[int, int, int]) -> None:
    assert tuple(fewest(over, share) for share in (0.9, 0.95, 0.99)) == needed


@pytest.mark.parametrize(
    ("count", "share", "discarded"),
    [
        (2048, 0.9, 172),
        (2116, 0.9, 178),
        (2145, 0.9, 181),
        (4_776_846, 0.9, 476_158),
        (1_179_125, 0.99, 11_539),
        (2_091_550, 0.99, 20_579),
    ],
)
def test_as_many_are_discarded_as_in_published_result_logs(count: int, share: float, discarded: int) -> None:
    """From mlperf_log_summary.txt of several submissions: "Would discard N highest latency queries"."""
    over = most_over(count, share)
    assert over is not None
    assert over - 1 == discarded


@given(count=st.integers(1, 5000), share=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(max_examples=100)
def test_both_directions_agree(count: int, share: float) -> None:
    over = most_over(count, share)
    if over is None:
        assert fewest(0, share) > count
    else:
        assert fewest(over, share) <= count < fewest(over + 1, share)


def test_the_estimate_is_an_order_statistic_above_the_percentile() -> None:
    latencies_s = [float(number) for number in range(1, 2049)]
    assert at_most(latencies_s[::-1], 0.9) == 2048 - 172
    assert at_most(latencies_s[:63], 0.9) is None
    assert at_most(latencies_s[:64], 0.9) == 64.0


def test_errors_are_the_highest_latencies() -> None:
    assert at_most([0.1] * 129 + [math.inf], 0.95) == math.inf
    assert at_most([0.1] * 397 + [math.inf], 0.95) == 0.1


def stopping(*, slo_s: float | None = 1.0, give_up: bool = False) -> Stopping:
    return Stopping(slo_s=slo_s, share=0.95, at_least_s=60.0, planned=600, give_up=give_up)


def test_a_run_ends_when_the_promise_is_shown_or_refuted_but_not_before_its_time() -> None:
    assert not stopping().enough(59.9, 500, 0)
    assert stopping().enough(60.0, 90, 0)
    assert not stopping().enough(60.0, 89, 0)
    assert not stopping().enough(60.0, 129, 1)
    assert stopping().enough(60.0, 130, 1)
    assert not stopping().enough(60.0, 100, 5)  # 5 % of 100: neither
    assert stopping().enough(60.0, 100, 15)  # by luck with less than 1 %


def test_without_a_promise_it_ends_when_the_percentile_is_known() -> None:
    assert not stopping(slo_s=None).is_over(math.inf)
    assert not stopping(slo_s=None).enough(60.0, 129, 0)
    assert stopping(slo_s=None).enough(60.0, 130, 0)


def test_a_search_gives_a_broken_promise_up_at_once() -> None:
    assert stopping().is_over(1.1)
    assert not stopping().is_over(1.0)
    assert not stopping(give_up=True).enough(3.0, 40, 30)  # 30 of 600 are 5 %
    assert stopping(give_up=True).enough(3.0, 40, 31)
    assert not stopping().enough(3.0, 40, 31)
