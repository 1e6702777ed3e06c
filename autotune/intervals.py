"""Statistics of measurements: percentiles, intervals of ratios, and a bootstrap over clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Interval", "RatioEstimate", "geometric_interval", "joint_intervals", "percentile", "ratio_interval"]

_AT_ONCE = 500
"""Resamples that are held in memory at once."""


@dataclass(frozen=True)
class Interval:
    """A point estimate with its 95 % interval. ``low ≤ median ≤ high``."""

    median: float
    low: float
    high: float


def percentile(values: Sequence[float], share: float) -> float:
    """Linear-interpolated percentile (numpy's default method), ``share`` in 0..1.

    Raises:
        ValueError: no values, or share outside 0..1.
    """
    if not values:
        raise ValueError("a percentile needs at least one value, but got none")
    if not 0 <= share <= 1:
        raise ValueError(f"share must be in 0..1, but got {share}")
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def geometric_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Geometric mean of positive values and its Student-t interval on the log scale.

    Used for the RTFx of repeated blocks and for paired ratios per block: with three to eight blocks a bootstrap
    is too narrow, Student's t is not. One value alone has no interval: low = 0, high = inf would be honest but
    unusable, so it raises.

    Raises:
        ValueError: fewer than two values, or one that is not positive and finite.
    """
    if len(values) < 2:
        raise ValueError(f"an interval needs at least two blocks, but got {len(values)}")
    if any(not math.isfinite(value) or value <= 0 for value in values):
        raise ValueError(f"values must be positive and finite, but got {list(values)}")
    import numpy as np
    from scipy.stats import sem, t

    logs = np.log(values)
    mean, error = float(logs.mean()), float(sem(logs))
    # Of equal values, SciPy's interval is not a number.
    low, high = t.interval(confidence, len(logs) - 1, mean, error) if error else (mean, mean)
    return Interval(median=math.exp(mean), low=math.exp(low), high=math.exp(high))


@dataclass(frozen=True)
class RatioEstimate:
    """A ratio of sums over clusters, with what resampling the clusters says of it."""

    value: float
    low: float
    high: float
    """Upper end of the 95 % interval, ``low ≤ value ≤ high``."""
    standard_error: float
    clusters: int


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> RatioEstimate:
    """Σ numerators / Σ denominators with a cluster bootstrap: one pair a cluster, whole clusters are resampled.

    Percentiles are expanded as for a Student interval with n − 1 degrees of freedom, since plain ones are too narrow
    for few clusters (Hesterberg 2015, doi:10.1080/00031305.2015.1089789). One cluster alone says nothing of the
    spread: unless its numerator is 0, the interval is then −1..1 around nothing.

    Args:
        numerators: [clusters], any sign.
        denominators: [clusters], ≥0, not all 0.
        confidence: that of the two-sided interval, in 0..1.
        resamples: how often clusters are drawn; ≥2000 for stable ends.
        seed: what they are drawn with; equal input gives equal output.

    Raises:
        ValueError: lengths differ, or nothing to divide by.
    """
    return joint_intervals([numerators], denominators, confidence=confidence, resamples=resamples, seed=seed)[0]


def joint_intervals(
    numerators: Sequence[Sequence[float]],
    denominators: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> tuple[RatioEstimate, ...]:
    """As ``ratio_interval``, of several ratios over the same clusters, whose upper ends hold together.

    With (1 + confidence) / 2 every ratio is below its upper end, so whoever looks whether *one of them* is below some
    limit is wrong no more often than with a single ratio. The quantile that all upper ends have in common is taken from
    the resamples (the max-T of Westfall and Young, on ranks): ratios that go together hardly widen each other's
    interval, independent ones as Bonferroni would. Ratios whose numerators are all 0 are no part of it.

    Args:
        numerators: [ratios][clusters], any sign.
        denominators: [clusters], ≥0, not all 0.
        confidence: that of each two-sided interval, in 0..1.
        resamples: how often clusters are drawn; ≥2000 for stable ends.
        seed: what they are drawn with; equal input gives equal output.

    Raises:
        ValueError: lengths differ, or nothing to divide by.
    """
    if any(len(own) != len(denominators) for own in numerators) or not sum(denominators) > 0:
        raise ValueError(
            "a ratio of sums needs as many numerators as denominators, and a positive sum of these, but got "
            f"{[len(own) for own in numerators]} and {len(denominators)} with the sum {sum(denominators)}"
        )
    import numpy as np
    from scipy.stats import norm, t

    count, spread = len(denominators), [own for own in numerators if any(own)]
    if count == 1 or not spread:
        return tuple(_without_spread(own, denominators) for own in numerators)
    # Sorted, so that the order in which clusters are listed changes nothing.
    rows = np.array(sorted(zip(*spread, denominators, strict=True)), np.float64)
    drawn = _resampled(rows, resamples, np.random.default_rng(seed))
    tail = float(norm.cdf(-math.sqrt(count / (count - 1)) * t.ppf((1 + confidence) / 2, count - 1)))
    level = 1 - tail
    if len(spread) > 1:
        ranks = drawn.argsort(axis=1, kind="stable").argsort(axis=1).max(axis=0) / (drawn.shape[1] - 1)
        level = float(np.quantile(ranks, level))
    estimates = iter(
        (float(np.quantile(own, tail)), float(np.quantile(own, level)), float(own.std(ddof=1))) for own in drawn
    )
    intervals = []
    for own in numerators:
        if not any(own):
            intervals.append(_without_spread(own, denominators))
            continue
        low, high, error = next(estimates)
        value = math.fsum(own) / math.fsum(denominators)
        error *= math.sqrt(count / (count - 1))
        intervals.append(RatioEstimate(value, min(low, value), max(high, value), error, count))
    return tuple(intervals)


def _without_spread(numerators: Sequence[float], denominators: Sequence[float]) -> RatioEstimate:
    """Of one cluster alone, or of numerators that are all 0."""
    if not any(numerators):
        return RatioEstimate(0.0, 0.0, 0.0, 0.0, len(numerators))
    value = math.fsum(numerators) / math.fsum(denominators)
    return RatioEstimate(value, min(value, -1.0), max(value, 1.0), 1.0, len(numerators))


def _resampled(rows: Any, resamples: int, generator: Any) -> Any:
    """Ratios of the sums of clusters drawn with replacement, [ratios, resamples]; divisions by 0 are left out.

    ``rows``: [clusters, ratios + 1], the denominator last.
    """
    import numpy as np

    above, below = rows[:, :-1], rows[:, -1]
    portions: list[Any] = []
    for start in range(0, resamples, _AT_ONCE):
        chosen = generator.integers(0, len(rows), (min(_AT_ONCE, resamples - start), len(rows)))
        totals = below[chosen].sum(axis=1)
        portions.append((above[chosen].sum(axis=1)[totals > 0] / totals[totals > 0, None]).T)
    return np.concatenate(portions, axis=1)
