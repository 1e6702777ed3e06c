"""How many requests a percentile needs: the early-stopping rule of MLPerf Inference.

Each request is over-latency or not. If a server kept its promise for less than a share p of all requests, the number t
of over-latency ones among n would follow a binomial distribution with 1 − p or more; n requests show p if so few would
have been seen by luck with a probability of at most 1 %:

    P(Binomial(n, 1 − p) ≤ t) ≤ 1 − confidence

Rules: https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc, appendix "Early Stopping
Criterion"; their implementation: loadgen/early_stopping.cc and results.cc in mlcommons/inference. Tolerance is 0 there
and here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["CONFIDENCE", "Stopping", "at_most", "fewest", "most_over", "refutes"]

CONFIDENCE = 0.99
"""Confidence with which a percentile is shown: MLPerf's."""


@lru_cache(maxsize=4096)
def fewest(over: int, share: float) -> int:
    """The fewest requests, ``over`` over-latency ones included, that show a percentile.

    Args:
        over: over-latency requests, ≥0.
        share: the percentile, in 0..1, such as 0.95.

    Returns:
        44, 90 and 459 for the 90th, 95th and 99th with none over-latency.
    """
    least, most = over, over + 1
    while not _shows(over, most, share):
        least, most = most, 2 * most
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if _shows(over, middle, share) else (middle, most)
    return most


def most_over(count: int, share: float) -> int | None:
    """Most over-latency requests among ``count`` with which they still show a percentile; None: they are too few."""
    if not _shows(0, count, share):
        return None
    least, most = 0, count
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (middle, most) if _shows(middle, count, share) else (least, middle)
    return least


def at_most(latencies_s: Sequence[float], share: float) -> float | None:
    """What a percentile is at most, with 99 % confidence: MLPerf's early-stopping estimate.

    The highest latencies are discarded, one fewer than may be over-latency, and the highest of the rest is the answer.

    Args:
        latencies_s: of all requests, ``inf`` for those without an answer.
        share: the percentile, in 0..1.

    Returns:
        Seconds, may be ``inf``; None if there are too few requests (64, 130 and 662 are the least).
    """
    over = most_over(len(latencies_s), share)
    return None if not over else sorted(latencies_s)[len(latencies_s) - over]


@dataclass(frozen=True)
class Stopping:
    """The rule by which a run has seen enough."""

    slo_s: float | None
    """Seconds within which texts are promised; None: nothing is, and knowing the percentile is enough."""
    share: float
    """The percentile that is promised, in 0..1."""
    at_least_s: float
    """Seconds that a run lasts, however clear its answer."""
    planned: int
    """Requests that would be sent in all."""
    give_up: bool = False
    """Whether to stop at once when the promise is broken even if all further requests were in time."""

    def is_over(self, latency_s: float) -> bool:
        """Whether a request that took, or has been waiting for, so long is over-latency."""
        return self.slo_s is not None and latency_s > self.slo_s

    def enough(self, at_s: float, count: int, over: int) -> bool:
        """Whether ``count`` requests, ``over`` of them over-latency, suffice at ``at_s`` seconds after the start."""
        if at_s < self.at_least_s:
            return self.give_up and over > (1 - self.share) * self.planned
        if self.slo_s is None:
            return count >= fewest(1, self.share)
        return count >= fewest(over, self.share) or refutes(over, count, self.share)


def _shows(over: int, count: int, share: float) -> bool:
    from scipy.special import bdtr

    return over < count and float(bdtr(over, count, 1 - share)) <= 1 - CONFIDENCE


def refutes(over: int, count: int, share: float) -> bool:
    """Whether a percentile is shown not to hold: if it did, so many would be luck of at most 1 %."""
    from scipy.special import bdtrc

    return over > 0 and float(bdtrc(over - 1, count, 1 - share)) <= 1 - CONFIDENCE
