"""Whether a server keeps up: does the backlog grow while load is offered?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from autotune.documents import Document
from autotune.loadgen.requests import Request

__all__ = ["Backlog", "backlog"]

BLOCKS = 10
"""A run is cut into so many parts of equally many requests: medians of parts are nearly independent, neighbours in a
queue are not."""
LEAST_REQUESTS = 50
"""With fewer, no trend is looked for."""
GROWTH = 0.03
"""Share of the second half's requests by which a backlog must have grown to be called growing."""
SIGNIFICANCE = 0.01


class Backlog(Document):
    """Requests that wait for their texts, and how that changes during a run."""

    half_way: int
    """Requests without an answer when half of the period was over."""
    end: int
    """The same at its end. Those that the server rejected or failed don't wait; those that timed out do."""
    answered_share: float
    """Answers over requests in the second half: below 1 where the server falls behind."""
    trend_p: float | None
    """One-sided p-value of Kendall's τ between time and latency, over the medians of ten parts of the run; None with
    fewer than 50 requests."""

    @property
    def saturated(self) -> bool:
        """Whether the backlog grows by more than chance makes it, and latency with it."""
        grown = self.end - self.half_way
        share = 1 - self.answered_share
        beyond_chance = grown > 2 * math.sqrt(self.end + self.half_way)
        return share >= GROWTH and beyond_chance and self.trend_p is not None and self.trend_p <= SIGNIFICANCE


def backlog(requests: Sequence[Request], period_s: float) -> Backlog:
    """How the backlog of ``requests``, in order of time, changed while load was offered."""
    half_way = _waiting(requests, period_s / 2)
    end = _waiting(requests, period_s)
    second_half = sum(1 for request in requests if request.counted_from_s > period_s / 2)
    return Backlog(
        half_way=half_way,
        end=end,
        answered_share=1 - (end - half_way) / second_half if second_half else 1.0,
        trend_p=_trend_p([request.latency_s for request in requests]),
    )


def _waiting(requests: Sequence[Request], at_s: float) -> int:
    return sum(
        1
        for request in requests
        if request.counted_from_s <= at_s and (request.status == "timeout" or request.settled_s > at_s)
    )


def _trend_p(latencies_s: Sequence[float]) -> float | None:
    if len(latencies_s) < LEAST_REQUESTS:
        return None
    from scipy.stats import kendalltau

    edges = [round(block * len(latencies_s) / BLOCKS) for block in range(BLOCKS + 1)]
    medians = [sorted(latencies_s[edges[i] : edges[i + 1]])[(edges[i + 1] - edges[i]) // 2] for i in range(BLOCKS)]
    # Only ranks matter; infinite ones would make scipy's arithmetic warn.
    longest_s = max((median for median in medians if median < math.inf), default=0.0)
    finite = [min(median, longest_s + 1) for median in medians]
    if len(set(finite)) == 1:
        return 1.0
    return float(kendalltau(range(BLOCKS), finite, alternative="greater").pvalue)
