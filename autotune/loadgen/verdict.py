"""Whether a run's figures may be believed, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from autotune.documents import Document
from autotune.early_stopping import fewest
from autotune.loadgen.statistics import SHARE, Figures

__all__ = ["CLIENT_KINDS", "LATE_KINDS", "Reason", "ReasonKind", "blames_client", "reasons_against"]

LAG_S = 0.01
LAG_SHARE = 0.05
"""Share of the median latency by which the client may be late, at the 99th percentile; ``LAG_S`` if that is more."""
SENT_SHARE = 0.98
"""Share of the offered rate that must have been sent."""
CLIENT_CORES = 0.8
"""Share of a core above which the client's one thread has no time left to be punctual."""
FAILED_SHARE = 0.01
"""Share of requests that may fail otherwise than by being late or rejected."""

ReasonKind = Literal[
    "interrupted",
    "too-few",
    "send-lag",
    "send-rate",
    "client-cpu",
    "client-resources",
    "saturated",
    "errors",
    "unconfirmed",
]
CLIENT_KINDS: frozenset[ReasonKind] = frozenset(("send-lag", "send-rate", "client-cpu", "client-resources"))
"""Reasons for which a run says nothing of the server, unless it missed its promise however late the client sent."""
LATE_KINDS: frozenset[ReasonKind] = frozenset(("send-lag", "client-cpu"))
"""Reasons for which latencies are too long, though the load is what was asked for: a promise that is kept, is kept."""
_OVERLOADED: frozenset[ReasonKind] = frozenset(("client-cpu", "client-resources"))
"""Reasons for which the client also reads answers late, so that latencies are too long."""


class Reason(Document):
    """A reason why the figures of a run must not be believed."""

    kind: ReasonKind
    text: str
    """One sentence: what must hold, what was got, what to do."""


def reasons_against(figures: Figures, *, interrupted: bool = False) -> tuple[Reason, ...]:
    """Everything that makes a run INVALID; empty for a VALID one."""
    texts: list[tuple[ReasonKind, str | None]] = [
        ("interrupted", "The run must end by itself, but was interrupted." if interrupted else None),
        ("too-few", _too_few(figures)),
        ("send-lag", _send_lag(figures)),
        ("send-rate", _send_rate(figures)),
        ("client-cpu", _client_cpu(figures)),
        ("client-resources", _client_resources(figures)),
        ("saturated", _saturated(figures)),
        ("errors", _errors(figures)),
    ]
    return tuple(Reason(kind=kind, text=text) for kind, text in texts if text is not None)


def blames_client(figures: Figures, reasons: Sequence[Reason]) -> bool:
    """Whether it may be the client's fault that a promise was missed, or that it can't be said."""
    kinds = {reason.kind for reason in reasons}
    return bool(kinds & CLIENT_KINDS) and (bool(kinds & _OVERLOADED) or not figures.missed_since_sent)


def _too_few(figures: Figures) -> str | None:
    count, over = figures.requests, figures.over_latency
    if figures.promise == "undecided":
        return (
            f"The promise must be shown with 99 % confidence, which {count} requests with {over} over-latency don't: "
            f"{fewest(over, SHARE)} would. Give a longer --duration, or none."
        )
    needed = fewest(1 if figures.promise is None else 0, SHARE)
    if count < needed and figures.promise != "met":
        return (
            f"The 95th percentile needs at least {needed} requests, but got {count}. Give a longer --duration, or none."
        )
    return None


def _send_lag(figures: Figures) -> str | None:
    allowed_s = max(LAG_S, LAG_SHARE * (figures.latency_s.p50 or 0.0))
    if figures.lag_p99_s <= allowed_s:
        return None
    return (
        f"The client must send on time, within {1000 * allowed_s:.0f} ms at the 99th percentile, but was "
        f"{1000 * figures.lag_p99_s:.0f} ms late. Run it on a machine of its own, or with less load."
    )


def _send_rate(figures: Figures) -> str | None:
    if figures.sent_rate >= SENT_SHARE * figures.offered_rate:
        return None
    return (
        f"The client must send {figures.offered_rate:.4g} requests/s, but sent {figures.sent_rate:.4g}. "
        "Run it on a faster machine, or several of them."
    )


def _client_cpu(figures: Figures) -> str | None:
    if figures.client_cores <= CLIENT_CORES:
        return None
    return (
        f"The client's thread must not be busier than {CLIENT_CORES:.0%}, but was {figures.client_cores:.0%}. "
        "Run several clients with less load each."
    )


def _client_resources(figures: Figures) -> str | None:
    if not figures.unsent:
        return None
    return (
        f"The client must have sockets for all requests, but had none for {figures.unsent} of {figures.requests}. "
        "Raise the limit of open files (ulimit -n), or offer less load."
    )


def _saturated(figures: Figures) -> str | None:
    backlog = figures.backlog
    if not backlog.saturated:
        return None
    return (
        f"The server must keep up, but its backlog grew from {backlog.half_way} to {backlog.end} requests in the "
        f"second half ({backlog.answered_share:.0%} of them answered): latencies depend on how long the run was. "
        "Offer less load."
    )


def _errors(figures: Figures) -> str | None:
    without_text = figures.rejected + figures.timed_out + figures.failed
    if figures.failed > FAILED_SHARE * figures.requests:
        return (
            f"At most {FAILED_SHARE:.0%} of the requests may fail, but {figures.failed} of {figures.requests} did. "
            "Read the server's log."
        )
    if without_text > (1 - SHARE) * figures.requests:
        return (
            f"At least {SHARE:.0%} of the requests must get a text for a 95th percentile, but of "
            f"{figures.requests} {figures.rejected} were rejected, {figures.timed_out} timed out and "
            f"{figures.failed} failed. Offer less load."
        )
    return None
