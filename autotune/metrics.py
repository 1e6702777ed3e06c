"""Statistics of measurements: percentiles, and intervals of ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Interval", "geometric_interval", "percentile"]


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
    from scipy.stats import t

    logs = [math.log(value) for value in values]
    count = len(logs)
    mean = math.fsum(logs) / count
    variance = math.fsum((value - mean) ** 2 for value in logs) / (count - 1)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * math.sqrt(variance / count)
    return Interval(median=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half))
