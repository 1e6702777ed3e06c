"""Turns: one thread answers all clients, so an address that makes it late waits for as long as it was late."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict

__all__ = ["REQUEST_S", "Turns"]

LOOK_S = 0.1
LATE_S = 0.05
"""The thread is late where it looks up so much later than it meant to."""
_LONGEST_S = 1.0
"""Longest pause: what makes a thread late is seen again after it."""
REQUEST_S = 0.001
"""What a request counts as, whatever it takes: the event loop doesn't say."""


class Turns:
    """What each address took of the event loop lately, and which of them are paused. For one event loop.

    Nobody is paused while the loop is on time, however much is asked, nor where there is one address alone: to this
    server, all clients behind a proxy are one.
    """

    def __init__(self) -> None:
        """Nobody has taken anything yet."""
        self._open: defaultdict[str, set[asyncio.Transport]] = defaultdict(set)
        self._took: Counter[str] = Counter()
        self._until: dict[str, float] = {}
        """Paused address → time at which it goes on."""

    def enter(self, address: str, transport: asyncio.Transport) -> None:
        """A connection has begun."""
        self._open[address].add(transport)
        if address in self._until:
            transport.pause_reading()

    def leave(self, address: str, transport: asyncio.Transport) -> None:
        """A connection has ended; idempotent."""
        self._open[address].discard(transport)
        if not self._open[address]:
            del self._open[address]

    def took(self, address: str, seconds: float) -> None:
        """Count what an address took of the loop."""
        self._took[address] += seconds  # type: ignore[assignment]  # typeshed's counters count in whole numbers

    def left_s(self, address: str) -> float:
        """Seconds for which an address is still paused; 0: it isn't."""
        return max(0.0, self._until.get(address, 0.0) - time.monotonic())

    async def watch(self) -> None:
        """Pause whoever makes the loop late, until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(LOOK_S)
            self.look(time.monotonic() - began - LOOK_S)

    def look(self, late_s: float) -> None:
        """Let those go on whose pause is over; if the loop was late, pause the address that took most of it."""
        for address in [address for address in self._until if not self.left_s(address)]:
            del self._until[address]
            for transport in self._open.get(address, ()):
                if _wants_more(transport):
                    transport.resume_reading()
        took, self._took = self._took, Counter()
        if late_s < LATE_S or not took or len(self._open) < 2:
            return
        ((address, most),) = took.most_common(1)
        if 2 * most <= sum(took.values()):
            return
        self._until[address] = time.monotonic() + min(late_s, _LONGEST_S)
        for transport in self._open.get(address, ()):
            transport.pause_reading()


def _wants_more(transport: asyncio.Transport) -> bool:
    """Whether the protocol of a connection takes bytes: one that has enough for now has paused it itself."""
    protocol = transport.get_protocol()
    flow = getattr(protocol, "flow", protocol)  # HTTP's, or the WebSocket's own
    return not getattr(flow, "read_paused", False) and not transport.is_closing()
