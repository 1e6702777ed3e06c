"""The highest load that keeps a promise: a pure search over noisy yes-or-no probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Capacity", "Ended", "LoadRange", "Probe", "RunOutcome", "find_capacity"]

PRECISION = 1.05
"""Share by which the lowest load that is too much may lie above the highest that is met when the search ends."""
AGREEING = 2
"""Probes of one load that must agree before that load bounds the answer."""

RunOutcome = Literal["met", "missed", "undecided", "client"]
"""``undecided``: not shown to be met, nor to be missed; a search takes it for not met. ``client``: the load was more
than the client can offer, which says nothing of the server."""
Ended = Literal["found", "none", "unbounded", "client", "probes"]
"""``found``: bracketed by confirmed probes. ``none``: not even the least load is met. ``unbounded``: the most is met.
``client``: what is too much is too much for the client. ``probes``: too many probes disagree."""


@dataclass(frozen=True)
class LoadRange:
    """The loads among which capacity is looked for."""

    start: float
    """The first load that is tried, in ``least..most``."""
    least: float
    most: float
    whole: bool = False
    """Whether loads are whole numbers."""


@dataclass(frozen=True)
class Probe:
    """One run at one load."""

    load: float
    outcome: RunOutcome


@dataclass(frozen=True)
class Capacity:
    """The highest load that keeps the promise, the runs that show it, and how the search ended."""

    load: float | None
    """The highest load that was met by the majority of its runs, at least two; None if none was."""
    above: float | None
    """The lowest load above ``load`` that was not met; None if none was missed."""
    probes: tuple[Probe, ...]
    """All runs, in their order."""
    ended: Ended


def find_capacity(probe: Callable[[float], RunOutcome], span: LoadRange, *, most_probes: int = 40) -> Capacity:
    """Double the load until it is too much, bisect down to 5 %, then confirm both ends with a second run.

    A run is a sample: a load may be met once and missed the next time, and a higher load be met where a lower was
    missed. So what bounds the answer must be confirmed by a second probe, a third decides where two disagree, and the
    search goes on wherever that moves the bounds. One missed probe below a load that is met is taken for noise.

    Args:
        probe: runs a load and says what came of it; what it raises is passed on.
        span: where to look.
        most_probes: after which the search ends unconfirmed.
    """
    tally = _Tally(span)
    while (load := tally.next_load()) is not None and len(tally.probes) < most_probes:
        tally.add(Probe(load, probe(load)))
    low, high = tally.low, tally.high
    ended: Ended = "found"
    if load is not None:
        ended = "probes"
    elif high is None:
        ended = "unbounded"
    elif tally.of_the_client(high):
        ended = "client"
    elif low is None:
        ended = "none"
    return Capacity(low, high, tuple(tally.probes), ended)


class _Tally:
    """The probes so far, and what to probe next."""

    def __init__(self, span: LoadRange) -> None:
        self._span = span
        self.probes: list[Probe] = []
        self._outcomes: dict[float, list[RunOutcome]] = {}

    def add(self, probe: Probe) -> None:
        self.probes.append(probe)
        self._outcomes.setdefault(probe.load, []).append(probe.outcome)

    @property
    def low(self) -> float | None:
        """The highest load that the probes agree is met."""
        return max((load for load in self._outcomes if self._is_met(load)), default=None)

    @property
    def high(self) -> float | None:
        """The lowest load above that which is not."""
        low = self.low
        over = (load for load in self._outcomes if not self._is_met(load) and (low is None or load > low))
        return min(over, default=None)

    def of_the_client(self, load: float) -> bool:
        """Whether it was the client that failed at a load, which says nothing of the server."""
        outcomes = self._outcomes[load]
        return outcomes.count("client") > outcomes.count("missed") + outcomes.count("undecided")

    def next_load(self) -> float | None:
        """The load to probe next; None when nothing is open any more."""
        span, low, high = self._span, self.low, self.high
        disputed = next((load for load in self._outcomes if self._is_disputed(load)), None)
        if disputed is not None:
            return disputed
        if low is None and high is None:
            return span.start
        if low is None:
            assert high is not None
            return self._below(high) if high > span.least else self._unless_confirmed(high)
        if high is None:
            return self._above(low) if low < span.most else self._unless_confirmed(low)
        if not self._is_narrow(low, high):
            return float((int(low) + int(high)) // 2) if span.whole else (low + high) / 2
        first = self._unless_confirmed(low)
        return first if first is not None else self._unless_confirmed(high)

    def _below(self, load: float) -> float:
        return max(self._span.least, float(int(load) // 2) if self._span.whole else load / 2)

    def _above(self, load: float) -> float:
        return min(self._span.most, 2 * load)

    def _is_narrow(self, low: float, high: float) -> bool:
        return high <= PRECISION * low or (self._span.whole and high - low <= 1)

    def _is_met(self, load: float) -> bool:
        outcomes = self._outcomes[load]
        return 2 * outcomes.count("met") > len(outcomes)

    def _is_disputed(self, load: float) -> bool:
        outcomes = self._outcomes[load]
        return 2 * outcomes.count("met") == len(outcomes)

    def _unless_confirmed(self, load: float) -> float | None:
        met = self._outcomes[load].count("met")
        return None if max(met, len(self._outcomes[load]) - met) >= AGREEING else load
