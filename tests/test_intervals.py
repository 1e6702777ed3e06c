"""Intervals of geometric means: values from a table, and what has none."""

import math

import numpy as np
import pytest
from scipy.stats import chi2

from autotune.intervals import geometric_interval, joint_intervals, ratio_interval


def test_an_interval_is_students_on_the_logarithms() -> None:
    interval = geometric_interval([math.exp(value) for value in (1.0, 2.0, 3.0)])
    half = 4.302653 / math.sqrt(3)  # t for 97.5 % and two degrees of freedom; the standard deviation is 1
    assert math.log(interval.median) == pytest.approx(2.0)
    assert (math.log(interval.low), math.log(interval.high)) == pytest.approx((2.0 - half, 2.0 + half), rel=1e-6)


def test_equal_values_have_no_spread() -> None:
    interval = geometric_interval([2.0, 2.0, 2.0])
    assert (interval.low, interval.median, interval.high) == pytest.approx((2.0, 2.0, 2.0))


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 0.0], [1.0, -1.0], [1.0, math.inf], [1.0, math.nan]])
def test_what_has_no_interval_is_said(values: list[float]) -> None:
    with pytest.raises(ValueError, match="but got"):
        geometric_interval(values)


@pytest.mark.parametrize("count", [1, 2, 4, 8, 16])
def test_of_few_losses_the_upper_end_is_that_of_a_count(count: int) -> None:
    """Clips that lose one token each, of 320: the truth may be as high as Poisson's, which is far above ± 1.96."""
    high = ratio_interval([1.0] * count + [0.0] * (320 - count), [10.0] * 320).high * 3200
    exact = chi2.ppf(0.975, 2 * (count + 1)) / 2
    assert high == pytest.approx(exact, rel=0.12)


def test_joint_upper_ends_are_as_wide_as_the_ratios_go_apart() -> None:
    lengths, wider = [20.0] * 200, []
    for seed in range(4):
        first, second = (list(own) for own in np.random.default_rng(seed).normal(0.2, 1.0, (2, 200)))
        alone = [ratio_interval(own, lengths) for own in (first, second)]
        for one, joint in zip(alone, joint_intervals([first, second], lengths), strict=True):
            assert joint.value == pytest.approx(one.value)
            assert joint.low == pytest.approx(one.low, abs=0.15 * joint.standard_error)
            wider.append((joint.high - joint.value) / (one.high - one.value))
    # 2.24 standard errors instead of 1.96, as by Bonferroni.
    assert np.mean(wider) == pytest.approx(2.24 / 1.96, rel=0.05)
    for same in joint_intervals([first, first], lengths):
        assert same.high == pytest.approx(alone[0].high, rel=0.01)
    only, nothing = joint_intervals([first, [0.0] * 200], lengths)
    assert only == alone[0]
    assert (nothing.low, nothing.high) == (0, 0)
