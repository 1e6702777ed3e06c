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

    # Not scipy.stats, which asks the same functions: importing it takes a second of every command's.
    from scipy.special import stdtrit

    logs = np.log(values)
    mean, error = float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(len(logs))
    half = float(stdtrit(len(logs) - 1, (1 + confidence) / 2)) * error
    return Interval(median=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half))


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

    Percentiles are corrected for bias and skewness (BCa, Efron 1987, doi:10.1080/01621459.1987.10478410): where few
    clusters have anything to count, plain upper ends are too low. They are also expanded as for a Student interval with
    n − 1 degrees of freedom (Hesterberg 2015, doi:10.1080/00031305.2015.1089789). One cluster alone says nothing of
    the spread: unless its numerator is 0, the interval is then −1..1 around nothing.

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
    from scipy.special import ndtr, ndtri, stdtrit

    count, spread = len(denominators), [own for own in numerators if any(own)]
    if count == 1 or not spread:
        return tuple(_without_spread(own, denominators) for own in numerators)
    # Sorted, so that the order in which clusters are listed changes nothing.
    rows = np.array(sorted(zip(*spread, denominators, strict=True)), np.float64)
    drawn = _resampled(rows, resamples, np.random.default_rng(seed))
    tail = float(ndtr(-math.sqrt(count / (count - 1)) * stdtrit(count - 1, (1 + confidence) / 2)))
    # At most 8: of few clusters everything that was drawn lies within, and an infinite distance has no quantile.
    wide = (min(8.0, -float(ndtri(tail))),) * 2
    if len(spread) > 1:
        ranks = drawn.argsort(axis=1, kind="stable").argsort(axis=1).max(axis=0) / drawn.shape[1]
        wide = wide[0], min(8.0, float(ndtri(np.quantile(ranks, 1 - tail))))
    estimates = iter(_estimate(row, own, denominators, wide) for row, own in zip(drawn, spread, strict=True))
    return tuple(next(estimates) if any(own) else _without_spread(own, denominators) for own in numerators)


def _estimate(
    drawn: Any, numerators: Sequence[float], denominators: Sequence[float], wide: tuple[float, float]
) -> RatioEstimate:
    """The BCa interval of one ratio from its resamples; ``wide``: normal quantiles of the distance to its two ends."""
    import numpy as np
    from scipy.special import ndtr, ndtri

    count, above, below = len(denominators), np.array(numerators, np.float64), np.array(denominators, np.float64)
    value = math.fsum(numerators) / math.fsum(denominators)
    influence = np.sort(above - value * below)
    acceleration = float((influence**3).sum() / (6 * (influence**2).sum() ** 1.5)) if influence.any() else 0.0
    smaller, equal = drawn < value - 1e-12, abs(drawn - value) <= 1e-12
    share = float(np.clip(smaller.mean() + equal.mean() / 2, 1 / len(drawn), 1 - 1 / len(drawn)))
    bias = float(ndtri(share))

    def end(quantile: float) -> float:
        moved = bias + quantile
        stretched = moved / (1 - acceleration * moved) if acceleration * moved < 1 else math.copysign(math.inf, moved)
        return float(np.quantile(drawn, ndtr(bias + stretched)))

    low, high = end(-wide[0]), end(wide[1])
    error = float(drawn.std(ddof=1)) * math.sqrt(count / (count - 1))
    return RatioEstimate(value, min(low, value), max(high, value), error, count)


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
