"""Intervals of geometric means: values from a table, and what has none."""

import math

import pytest

from autotune.intervals import geometric_interval


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
