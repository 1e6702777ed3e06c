"""Statistics of measurements: percentiles, intervals of ratios, and a bootstrap over clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Interval", "RatioEstimate", "geometric_interval", "percentile", "ratio_interval"]

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
    if len(numerators) != len(denominators) or not sum(denominators) > 0:
        raise ValueError(
            "a ratio of sums needs as many numerators as denominators, and a positive sum of these, but got "
            f"{len(numerators)} and {len(denominators)} with the sum {sum(denominators)}"
        )
    import numpy as np
    from scipy.stats import norm, t

    count = len(numerators)
    value = math.fsum(numerators) / math.fsum(denominators)
    if not any(numerators):
        return RatioEstimate(0.0, 0.0, 0.0, 0.0, count)
    if count == 1:
        return RatioEstimate(value, min(value, -1.0), max(value, 1.0), 1.0, count)
    # Sorted, so that the order in which clusters are listed changes nothing.
    pairs = np.array(sorted(zip(numerators, denominators, strict=True)), np.float64)
    drawn = _resampled(pairs, resamples, np.random.default_rng(seed))
    tail = float(norm.cdf(-math.sqrt(count / (count - 1)) * t.ppf((1 + confidence) / 2, count - 1)))
    low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    error = float(drawn.std(ddof=1)) * math.sqrt(count / (count - 1))
    return RatioEstimate(value, min(low, value), max(high, value), error, count)


def _resampled(pairs: Any, resamples: int, generator: Any) -> Any:
    """Ratios of the sums of clusters drawn with replacement from ``pairs``, [clusters, 2]; divisions by 0 left out."""
    import numpy as np

    above, below = pairs.T
    portions: list[Any] = []
    for start in range(0, resamples, _AT_ONCE):
        chosen = generator.integers(0, len(pairs), (min(_AT_ONCE, resamples - start), len(pairs)))
        totals = below[chosen].sum(axis=1)
        portions.append(above[chosen].sum(axis=1)[totals > 0] / totals[totals > 0])
    return np.concatenate(portions)
