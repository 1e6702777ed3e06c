"""What decides when a stream asks for something: a state machine on any clock, for servers and for simulations.

A stream's audio passes one thread, one thing after the other: what a block settles is one lot, which waits for room
(``Scheduler.offer``), and what comes meanwhile waits for that.
"""

from __future__ import annotations

__all__ = [
    "INTERIM_OF_S",
    "INTERIM_S",
    "MOST_INTERIM_S",
    "STREAMS_SHARE",
    "STREAM_AHEAD_S",
    "Interims",
    "interim_streams",
    "streams_by_speed",
]

INTERIM_S = 1.0
"""Seconds of a stream's audio between two interim results."""
MOST_INTERIM_S = 15.0
"""Longest audio of an interim text: the last of what isn't settled yet."""
STREAM_AHEAD_S = 60.0
"""Seconds of a stream's segments that wait for an engine in servers: a client that sends faster has to wait."""
INTERIM_OF_S = 5.0
"""Seconds of audio that an interim result recognises on average: half of what is said without a pause."""
STREAMS_SHARE = 0.5
"""Share of the measured RTFx that is taken in as streams: at 70 % texts come late, since streams speak at the same
moments (benchmarks/streams.py, docs/serving.md)."""


def streams_by_speed(rtfx: float) -> int:
    """How many streams a server takes in by its RTFx alone, where no service times say what it carries."""
    return max(1, int(STREAMS_SHARE * rtfx))


def interim_streams(rtfx: float) -> int:
    """How many open streams can have interim results at a measured speed; 0: not even one."""
    # A second of a stream is recognised once for its segment, and with each interim result all that isn't settled.
    return int(STREAMS_SHARE * rtfx / (1 + INTERIM_OF_S / INTERIM_S))


class Interims:
    """When one stream has an interim text made: with each further second that is heard, but one at a time."""

    def __init__(self) -> None:
        self._asked_s = 0.0
        """Seconds of audio up to which an interim text was due."""
        self._under_way = False

    def due(self, heard_s: float) -> bool:
        """Whether to ask for one, of which ``answered`` must be told; ``heard_s`` of the stream have come by now."""
        if heard_s - self._asked_s < INTERIM_S:
            return False
        self._asked_s = heard_s
        # Where engines are behind, texts would only pile up that are out of date when they come.
        asks, self._under_way = not self._under_way, True
        return asks

    def answered(self) -> None:
        """The text that was asked for is there, or won't come any more."""
        self._under_way = False
