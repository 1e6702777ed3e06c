"""The batching policy: a pure function of queue and clock, used offline, by trials, by the server and by planning."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from autotune.deployment import Batch

__all__ = ["OFFLINE", "Queue", "Queued", "Take", "Wait", "decide"]

OFFLINE = -math.inf
"""Arrival of a segment of audio that is all there: waiting would bring it no company."""


@dataclass(frozen=True)
class Queued:
    """A segment in the queue."""

    index: int
    """Its number, by which equal segments are ordered; no two segments of a queue have the same."""
    arrival_s: float
    """When it arrived, in seconds on the caller's clock; ``OFFLINE`` when all audio is there."""
    audio_s: float
    before_s: float = 0.0
    """Seconds of its recording that lie before it and arrived together with it."""

    @property
    def due_s(self) -> float:
        """When it would begin to be spoken if its recording were spoken from its arrival on, on the caller's clock."""
        return self.arrival_s + self.before_s


class Queue:
    """Waiting segments, found by when they are due and by length without going through all of them."""

    def __init__(self, segments: Iterable[Queued] = ()) -> None:
        self._segments: dict[int, Queued] = {}
        self._by_due: list[tuple[float, float, int]] = []
        """Heap; what was removed stays in it until it comes to the top."""
        self._by_length: list[tuple[float, float, int]] = []
        """Sorted: seconds, due, index."""
        for segment in segments:
            self.add(segment)

    def __len__(self) -> int:
        return len(self._segments)

    def add(self, segment: Queued) -> None:
        """Let a segment wait."""
        self._segments[segment.index] = segment
        heapq.heappush(self._by_due, (segment.due_s, -segment.audio_s, segment.index))
        insort(self._by_length, _by_length(segment))

    def remove(self, index: int) -> None:
        """Let a segment wait no longer."""
        segment = self._segments.pop(index)
        del self._by_length[bisect_left(self._by_length, _by_length(segment))]

    def first(self) -> Queued:
        """What is due first; of equals, the longest. The queue holds at least one segment."""
        while self._by_due[0][2] not in self._segments:
            heapq.heappop(self._by_due)
        return self._segments[self._by_due[0][2]]

    def nearest(self, segment: Queued) -> Iterator[Queued]:
        """All other segments by nearness of length; of equally near ones, what is due first."""
        place = bisect_left(self._by_length, _by_length(segment))
        near = heapq.merge(
            ((abs(audio_s - segment.audio_s), due_s, index) for audio_s, due_s, index in self._shorter(place)),
            ((abs(audio_s - segment.audio_s), due_s, index) for audio_s, due_s, index in self._longer(place + 1)),
        )
        return (self._segments[index] for _, __, index in near)

    def _longer(self, place: int) -> Iterator[tuple[float, float, int]]:
        while place < len(self._by_length):
            yield self._by_length[place]
            place += 1

    def _shorter(self, stop: int) -> Iterator[tuple[float, float, int]]:
        while stop:
            # Those of one length in their own order, length by length.
            start = bisect_left(self._by_length, (self._by_length[stop - 1][0],))
            yield from self._by_length[start:stop]
            stop = start


def _by_length(segment: Queued) -> tuple[float, float, int]:
    return segment.audio_s, segment.due_s, segment.index


@dataclass(frozen=True)
class Take:
    """Run these now, as one batch, longest first."""

    indices: tuple[int, ...]


@dataclass(frozen=True)
class Wait:
    """Nothing to run before this time, unless something arrives."""

    until_s: float


def decide(queue: Queue, now_s: float, policy: Batch, *, idle: int = 1) -> Take | Wait:
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
        queue: waiting segments; at least one.
        now_s: the clock of ``arrival_s``.
        policy: ``deployment.batch``.
        idle: engines that have nothing to do, the one that asks among them.

    Raises:
        ValueError: the queue is empty.
    """
    if not len(queue):
        raise ValueError("the queue must hold at least one segment, but is empty")
    first = queue.first()
    chosen, full = _grown(first, queue.nearest(first), policy)
    # Offline audio has arrived at −∞, so its deadline has always passed.
    deadline = first.arrival_s + policy.max_wait_s
    if not full and now_s < deadline:
        return Wait(deadline)
    # Rounded up, so that the engines together never leave one of the waiting segments behind.
    share = math.ceil(len(queue) / idle)
    return Take(tuple(item.index for item in sorted(chosen[:share], key=lambda item: (-item.audio_s, item.index))))


def _grown(first: Queued, others: Iterable[Queued], policy: Batch) -> tuple[list[Queued], bool]:
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
