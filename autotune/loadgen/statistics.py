"""What a run amounts to: latency percentiles, rates, throughput, and whether a promise was kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from autotune.documents import Document
from autotune.early_stopping import at_most, fewest
from autotune.loadgen.client import SentRequest
from autotune.loadgen.driver import Run

__all__ = ["SHARE", "Backlog", "Figures", "Percentiles", "Promise", "backlog", "figures", "nearest_rank"]

SHARE = 0.95
"""The percentile that is promised: the SLO is ``p95_latency_s``."""

Promise = Literal["met", "missed", "undecided"]
"""``met``: shown with 99 % confidence; ``missed``: more than 5 % were over-latency; ``undecided``: fewer were, but of
too few requests to show it."""


class Percentiles(Document):
    """Percentiles of latency in seconds; null where so many requests got no text."""

    p50: float | None
    p95: float | None
    p99: float | None


class Figures(Document):
    """The figures of a run. Rates are over the period in which load was offered."""

    requests: int
    ok: int
    rejected: int
    timed_out: int
    failed: int
    unsent: int
    over_latency: int
    """Requests that took longer than promised or got no text; without a promise, the latter."""
    over_since_sent: int
    """Requests that are over-latency even counted from when the client sent them: its lateness can't explain them."""
    promise: Promise | None
    """Whether the promise was kept; null: nothing is promised."""
    latency_s: Percentiles
    """The smallest latency that so many requests don't exceed (nearest rank), errors being infinitely late."""
    latency_at_most_s: Percentiles
    """Upper bounds of the percentiles with 99 % confidence, by MLPerf's early stopping; null also where there are too
    few requests."""
    offered_rate: float
    """Requests scheduled a second."""
    sent_rate: float
    """Requests sent a second."""
    answered_rate: float
    """Texts received a second."""
    goodput_rate: float
    """Requests a second whose text came as soon as promised; without a promise, that got one."""
    offered_audio_s_per_s: float
    """Seconds of audio scheduled a second."""
    rtfx_served: float
    """Seconds of audio transcribed a second, until the last text."""
    lag_p99_s: float
    """99th percentile of the client's own lateness in sending, seconds."""
    client_cores: float
    """CPU seconds of the client each second."""
    backlog: Backlog

    @property
    def missed_since_sent(self) -> bool:
        """Whether the promise is missed however late the client was in sending."""
        return self.promise == "missed" and _too_many(self.over_since_sent, self.requests)


def figures(run: Run, slo_s: float | None) -> Figures:
    """The figures of a run with at least one request."""
    requests = run.requests
    latencies_s = [request.latency_s for request in requests]
    counts = Counter(request.status for request in requests)
    limit_s = math.inf if slo_s is None else slo_s
    over = _over(latencies_s, limit_s)
    answered = [request for request in requests if request.status == "ok"]
    period_s = run.period_s
    sent_within_s = max(period_s, *(request.sent_s for request in requests))
    served_within_s = max([period_s, *(request.settled_s for request in answered)])
    return Figures(
        requests=len(requests),
        ok=counts["ok"],
        rejected=counts["rejected"],
        timed_out=counts["timeout"],
        failed=counts["failed"],
        unsent=counts["unsent"],
        over_latency=over,
        over_since_sent=_over([request.latency_s - request.lag_s for request in requests], limit_s),
        promise=None if slo_s is None else _promise(len(requests), over),
        latency_s=_percentiles([nearest_rank(latencies_s, share) for share in (0.5, SHARE, 0.99)]),
        latency_at_most_s=_percentiles([at_most(latencies_s, share) for share in (0.5, SHARE, 0.99)]),
        offered_rate=len(requests) / period_s,
        sent_rate=(len(requests) - counts["unsent"]) / sent_within_s,
        answered_rate=sum(1 for request in answered if request.settled_s <= period_s) / period_s,
        goodput_rate=(len(requests) - over) / period_s,
        offered_audio_s_per_s=_audio_s(requests) / period_s,
        rtfx_served=_audio_s(answered) / served_within_s,
        lag_p99_s=nearest_rank([request.lag_s for request in requests], 0.99),
        client_cores=run.client_cores,
        backlog=backlog(requests, period_s),
    )


def nearest_rank(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0..1) of them don't exceed: one of them, so ``inf`` may be among.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a percentile needs at least one value, but got none")
    # 0.95 × 20 is 19.000000000000004 in floats on some ways to it: no rank for a rounding error.
    return sorted(values)[max(0, math.ceil(share * len(values) * (1 - 1e-12)) - 1)]


def _promise(count: int, over: int) -> Promise:
    if _too_many(over, count):
        return "missed"
    return "met" if count >= fewest(over, SHARE) else "undecided"


def _over(latencies_s: Sequence[float], limit_s: float) -> int:
    return sum(1 for latency in latencies_s if latency > limit_s or latency == math.inf)


def _too_many(over: int, count: int) -> bool:
    return over > (1 - SHARE) * count * (1 + 1e-12)


def _percentiles(values: Sequence[float | None]) -> Percentiles:
    p50, p95, p99 = (None if value is None or value == math.inf else value for value in values)
    return Percentiles(p50=p50, p95=p95, p99=p99)


def _audio_s(requests: Sequence[SentRequest]) -> float:
    return math.fsum(request.audio_s for request in requests)


BLOCKS = 10
"""Parts of equally many requests into which a run is cut: medians of parts are nearly independent, neighbours in a
queue are not."""
LEAST_REQUESTS = 50
"""Requests below which no trend is looked for."""
GROWTH = 0.03
"""Share of the second half's requests by which a backlog must have grown to be called growing."""
SIGNIFICANCE = 0.01


class Backlog(Document):
    """Requests that wait for their texts, and how that changes during a run."""

    half_way: int
    """Requests without an answer when half of the period was over."""
    end: int
    """Requests without an answer at its end. Rejected and failed ones don't wait for any; timed-out ones do."""
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


def backlog(requests: Sequence[SentRequest], period_s: float) -> Backlog:
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


def _waiting(requests: Sequence[SentRequest], at_s: float) -> int:
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
