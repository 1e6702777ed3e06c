"""The batching policy: a pure function of queue and clock, used offline, by trials, by the server and by planning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.deployment import Batch

__all__ = ["OFFLINE", "Queued", "Take", "Wait", "decide"]

OFFLINE = -math.inf
"""Arrival of a segment of audio that is all there: waiting would bring it no company."""


@dataclass(frozen=True)
class Queued:
    """A segment in the queue."""

    index: int
    """Its place in the caller's queue."""
    arrival_s: float
    """When it arrived, in seconds on the caller's clock; ``OFFLINE`` when all audio is there."""
    audio_s: float
    before_s: float = 0.0
    """Seconds of its recording that lie before it and arrived together with it."""

    @property
    def due_s(self) -> float:
        """When it would begin to be spoken if its recording were spoken from its arrival on, on the caller's clock."""
        return self.arrival_s + self.before_s


@dataclass(frozen=True)
class Take:
    """Run these now, as one batch, longest first."""

    indices: tuple[int, ...]


@dataclass(frozen=True)
class Wait:
    """Nothing to run before this time, unless something arrives."""

    until_s: float


def decide(queue: Sequence[Queued], now_s: float, policy: Batch, *, idle: int = 1) -> Take | Wait:
    """Which segments an engine that asks now should run as a batch, or until when it should wait.

    1. The segment that is due first is always in the batch; of equals, the longest. A recording's segments are due one
       after the other, as if it were spoken from its arrival on: a short request passes what a long recording still has
       far ahead, and nobody starves, since what is due never moves.
    2. Others join it by nearness of length, which keeps padding small, while the batch holds at most ``max_size``
       segments and ``max_audio_s`` padded seconds (size × longest, padded as ``pad_to_s`` says). A segment longer
       than that runs alone.
    3. A batch that could still grow waits until that segment is ``max_wait_s`` old; a full one runs at once.
    4. An engine takes no more than its share of what waits: two idle ones halve a short queue, instead of one taking
       all of it while the other has nothing to do.

    Args:
        queue: waiting segments, in any order; at least one.
        now_s: the clock of ``arrival_s``.
        policy: ``deployment.batch``.
        idle: engines that have nothing to do, the one that asks among them.

    Raises:
        ValueError: the queue is empty.
    """
    if not queue:
        raise ValueError("the queue must hold at least one segment, but is empty")
    # Due time alone orders; length only breaks ties, and the index makes equal queues give equal batches.
    first = min(queue, key=lambda item: (item.due_s, -item.audio_s, item.index))
    others = sorted(
        (item for item in queue if item.index != first.index),
        key=lambda item: (abs(item.audio_s - first.audio_s), item.due_s, item.index),
    )
    chosen, full = _grown(first, others, policy)
    # Offline audio has arrived at −∞, so its deadline has always passed.
    deadline = first.arrival_s + policy.max_wait_s
    if not full and now_s < deadline:
        return Wait(deadline)
    # Rounded up, so that the engines together never leave one of the waiting segments behind.
    share = math.ceil(len(queue) / idle)
    return Take(tuple(item.index for item in sorted(chosen[:share], key=lambda item: (-item.audio_s, item.index))))


def _grown(first: Queued, others: Sequence[Queued], policy: Batch) -> tuple[list[Queued], bool]:
    """The batch of ``first`` and those of ``others`` that fit beside it, and whether it is full."""
    chosen, longest = [first], first.audio_s
    for item in others:
        grown = max(longest, item.audio_s)
        # The first that doesn't fit ends it: a later one that does would be further from the batch in length.
        if not _fits(len(chosen), grown, policy):
            return chosen, True
        chosen.append(item)
        longest = grown
    # Full too if not even a segment of its own lengths would fit: then there is nothing to wait for.
    return chosen, not _fits(len(chosen), longest, policy)


def _fits(size: int, longest_s: float, policy: Batch) -> bool:
    """Whether a batch of ``size`` may take one more segment, ``longest_s`` being the longest of all."""
    return size < policy.max_size and policy.padded_s(longest_s) * (size + 1) <= policy.max_audio_s
