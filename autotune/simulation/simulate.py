"""A whole on virtual time: recordings arrive at replicas, and their texts come when the parts say so."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from autotune.audio.profile import Arrival
from autotune.recognizer.admission import Rejected
from autotune.recognizer.streaming import INTERIM_S
from autotune.simulation.replica import Batched, Machine, SimulatedRecording, Work
from autotune.simulation.running import Replica

__all__ = ["Balance", "Simulated", "simulate"]

Balance = Literal["round-robin", "least-in-flight"]
"""Which replica gets what arrives: each in turn, or the one with the fewest recordings without a text."""


@dataclass(frozen=True)
class Simulated:
    """What came of it."""

    latencies_s: tuple[float, ...]
    """Of each recording, in their order: from the beginning of the whole (offline), its own beginning (closed), its
    arrival (open), or the end of its speech (real time); infinite where it was turned away."""
    ended_s: float
    """When the last text was there."""
    batches: tuple[Batched, ...]
    """Of all replicas, in the order in which they ended."""
    most_waiting_s: float
    """Most seconds of audio that waited for the engines of one replica at once."""

    def busy_share(self, engines: int) -> float:
        """Share of the time that engines ran, of ``engines`` of all replicas together."""
        return sum(batch.ended_s - batch.began_s for batch in self.batches) / (engines * self.ended_s)


def simulate(
    recordings: Sequence[SimulatedRecording],
    arrival: Arrival,
    machine: Machine,
    work: Sequence[Work],
    *,
    balance: Balance = "least-in-flight",
    before_s: float = 0.0,
    users: int | None = None,
) -> Simulated:
    """Let recordings arrive and be recognised.

    Args:
        recordings: by arrival, ascending; at least one.
        arrival: how they arrive. Offline and closed have one replica.
        machine: what each replica runs on.
        work: what batches take, of each replica: processes differ.
        balance: which replica gets what arrives.
        before_s: seconds that a recording is on its way to a server and its text on its way back.
        users: of open arrivals: so many recordings are under way all the time, the next one arrives when another has
            its text, whatever ``arrival_s`` says.
    """
    ends: dict[int, float] = {}
    if arrival in ("open", "realtime"):
        traffic = _Traffic(machine, work, balance, ends)
        began = traffic.run(recordings, before_s, users)
        return _told(ends, began, traffic.replicas)
    replicas = [Replica(machine, work[0], ends.__setitem__)]
    if arrival == "offline":
        replicas[0].offline(list(enumerate(recordings)))
        _run_out(replicas[0])
        began = [0.0] * len(recordings)
    else:
        began = []
        for number, recording in enumerate(recordings):
            began.append(replicas[0].now_s)
            replicas[0].offline([(number, recording)])
            _run_out(replicas[0])
    return _told(ends, began, replicas)


def _told(ends: dict[int, float], began: Sequence[float], replicas: Sequence[Replica]) -> Simulated:
    latencies = [max(0.0, ends.get(number, math.inf) - since_s) for number, since_s in enumerate(began)]
    batches = sorted((batch for replica in replicas for batch in replica.batches), key=lambda batch: batch.ended_s)
    most_waiting_s = max(replica.most_waiting_s for replica in replicas)
    return Simulated(tuple(latencies), max(ends.values(), default=0.0), tuple(batches), most_waiting_s)


def _run_out(replica: Replica) -> None:
    while replica.inside:
        replica.advance(replica.next_event_s())


class _Traffic:
    """Recordings on their way to replicas, and whatever happens next in any of them."""

    def __init__(self, machine: Machine, work: Sequence[Work], balance: Balance, ends: dict[int, float]) -> None:
        """``ends`` gets each recording's number and when its text is there."""
        self.replicas = [Replica(machine, one, self._ended) for one in work]
        self._balance, self._ends = balance, ends
        self._interims = machine.interim_streams > 0
        self._turns = itertools.cycle(range(len(work)))
        self._following: deque[Callable[[float], None]] = deque()
        """What arrives when others have their texts."""
        self._outside: list[tuple[float, int, Callable[[float], None]]] = []
        """Heap of what comes from outside: when, the order of equals, and what it does at that time."""
        self._inside: list[tuple[float, int]] = []
        """Heap of replicas by when something happens in them; an entry that isn't true any more is passed over."""
        self._order = itertools.count()

    def run(self, recordings: Sequence[SimulatedRecording], before_s: float, users: int | None) -> Sequence[float]:
        """Until all have their texts; from when the latency of each counts."""
        began = [recording.arrival_s + (recording.spoken_s or 0.0) for recording in recordings]

        def follow(number: int, now_s: float) -> None:
            began[number] = now_s
            arrived = replace(recordings[number], arrival_s=now_s)
            self._at(now_s + before_s, partial(self._request, number, arrived))

        if users is not None:
            self._following.extend(partial(follow, number) for number in range(users, len(recordings)))
            for number in range(min(users, len(recordings))):
                follow(number, 0.0)
        else:
            for number, recording in enumerate(recordings):
                arrive = self._speak if recording.spoken_s is not None else self._request
                self._at(recording.arrival_s + before_s, partial(arrive, number, recording))
        while self._outside or any(replica.inside for replica in self.replicas):
            while self._inside and self._inside[0][0] != self.replicas[self._inside[0][1]].next_event_s():
                heapq.heappop(self._inside)
            if self._outside and (not self._inside or self._outside[0][0] <= self._inside[0][0]):
                at_s, _, happen = heapq.heappop(self._outside)
                happen(at_s)
            else:
                at_s, place = heapq.heappop(self._inside)
                self.replicas[place].advance(at_s)
                self._watch(place)
        return began

    def _ended(self, number: int, now_s: float) -> None:
        self._ends[number] = now_s
        if self._following:
            self._following.popleft()(now_s)

    def _at(self, at_s: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self._outside, (at_s, next(self._order), happen))

    def _watch(self, place: int) -> None:
        heapq.heappush(self._inside, (self.replicas[place].next_event_s(), place))

    def _chosen(self, now_s: float) -> int:
        if self._balance == "round-robin":
            place = next(self._turns)
        else:
            place = min(range(len(self.replicas)), key=lambda one: (self.replicas[one].inside, one))
        self.replicas[place].advance(now_s)
        return place

    def _request(self, number: int, recording: SimulatedRecording, now_s: float) -> None:
        place = self._chosen(now_s)
        with suppress(Rejected):
            self.replicas[place].request(number, recording)
        self._watch(place)

    def _speak(self, number: int, recording: SimulatedRecording, now_s: float) -> None:
        place = self._chosen(now_s)
        try:
            stream = self.replicas[place].begin_stream(number, recording)
        except Rejected:
            return
        finally:
            self._watch(place)
        assert recording.spoken_s is not None
        replica = self.replicas[place]
        for settled_s, pieces in itertools.groupby(recording.pieces, lambda piece: piece.settled_s):
            self._stream_at(now_s + settled_s, place, partial(replica.settle, stream, tuple(pieces)))
        if self._interims:
            for second in range(1, math.ceil(recording.spoken_s / INTERIM_S)):
                heard_s = second * INTERIM_S
                self._stream_at(now_s + heard_s, place, partial(replica.hear, stream, heard_s))
        self._stream_at(now_s + recording.spoken_s, place, partial(replica.end_stream, stream))

    def _stream_at(self, at_s: float, place: int, happen: Callable[[], None]) -> None:
        self._at(at_s, partial(self._of_stream, place, happen))

    def _of_stream(self, place: int, happen: Callable[[], None], now_s: float) -> None:
        self.replicas[place].advance(now_s)
        happen()
        self._watch(place)
