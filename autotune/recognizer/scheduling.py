"""What waits for engines and which of them run: a state machine on any clock.

Threads drive it in the recognizer (``dispatcher``), virtual time drives it in simulations: which batches form, and
when, is decided here alone. One scheduler is one stage: what an engine gives may wait for the engines of another.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from autotune.deployment import Batch
from autotune.recognizer.batching import OFFLINE, Queue, Queued, Wait, decide

__all__ = ["Lots", "QueueFacts", "RunningBatch", "Scheduler", "Waiting", "reading_order"]


class Waiting(Protocol):
    """What the scheduler needs of a segment that waits."""

    @property
    def audio_s(self) -> float:
        """How long it is in seconds, padding not counted."""

    @property
    def arrival_s(self) -> float:
        """On the scheduler's clock, or ``batching.OFFLINE``."""

    @property
    def before_s(self) -> float:
        """Seconds of its recording that lie before it and arrived together with it."""

    @property
    def owner(self) -> object:
        """Whose segment it is: room is given by owner, and ``withdraw`` takes back all of one."""

    @property
    def together(self) -> bool:
        """Whether all that waits of its owner is one batch, whatever the policy says: FunASR's users pass lists."""


Segment = TypeVar("Segment", bound=Waiting)


@dataclass(frozen=True)
class RunningBatch:
    """A batch that is in an engine."""

    began_s: float
    """When it was started, on the scheduler's clock."""
    padded_s: float
    """Seconds of its audio with padding: size × longest."""


@dataclass(frozen=True)
class QueueFacts:
    """How much waits for an engine, and what runs."""

    segments: int
    audio_s: float
    oldest_s: float
    """Age of the segment that has waited longest; 0 where none waits, or all audio was there already."""
    running: tuple[RunningBatch, ...]


class Scheduler(Generic[Segment]):
    """Events in, decisions out. Not thread-safe; its clock is whatever its callers pass as ``now_s``."""

    def __init__(self, policy: Batch, engines: int) -> None:
        """Nothing waits, and none of ``engines`` runs."""
        self._policy, self._engines = policy, engines
        self._queue = Queue()
        self._numbers = itertools.count()
        self._waiting: dict[int, Segment] = {}
        """By number, in the order in which they came."""
        self._of_owner: dict[int, dict[int, Segment]] = {}
        """The owner's identity → what waits of it, by number."""
        self._running: dict[int, RunningBatch] = {}
        """By engine's number."""
        self.waiting_s = 0.0
        """Seconds of audio that wait."""

    def has_room(self, owner: object, needed_s: float, limit_s: float) -> bool:
        """Whether ``needed_s`` more seconds of an owner may wait; a lot longer than the limit waits alone.

        Others' segments don't count, or a long recording would never get in among many short ones.
        """
        waiting = self._of_owner.get(id(owner))
        return not waiting or sum(segment.audio_s for segment in waiting.values()) + needed_s <= limit_s

    def put(self, segments: Iterable[Segment]) -> None:
        """Let segments wait, in this order."""
        for segment in segments:
            number = next(self._numbers)
            self._waiting[number] = segment
            self.waiting_s += segment.audio_s
            self._of_owner.setdefault(id(segment.owner), {})[number] = segment
            self._queue.add(Queued(number, segment.arrival_s, segment.audio_s, segment.before_s))

    def offer(self, lot: Sequence[Segment], limit_s: float) -> bool:
        """Let a lot of one owner wait if there is room for it; whether there was. See ``has_room``."""
        if not self.has_room(lot[0].owner, sum(segment.audio_s for segment in lot), limit_s):
            return False
        self.put(lot)
        return True

    def withdraw(self, owner: object) -> None:
        """Let an owner's segments wait no longer."""
        self._taken(list(self._of_owner.get(id(owner), ())))

    def drain(self) -> list[Segment]:
        """Everything that waits, in the order in which it came; nothing waits from then on."""
        return self._taken(list(self._waiting))

    def next(self, engine: int, now_s: float) -> list[Segment] | Wait | None:
        """What an engine that isn't running should run as a batch now, from ``now_s`` on, or until when it should wait.

        Returns:
            None where nothing waits: ask again once something was put. A wait may end sooner, too, if something is put.
        """
        if not self._waiting:
            return None
        # The engine that asks is among the idle ones: it runs only once it has a batch.
        decision = decide(self._queue, now_s, self._policy, idle=self._engines - len(self._running))
        if isinstance(decision, Wait):
            return decision
        numbers: Sequence[int] = decision.indices
        first = self._waiting[numbers[0]]
        if first.together:
            numbers = list(self._of_owner[id(first.owner)])
        batch = self._taken(numbers)
        padded_s = len(batch) * self._policy.padded_s(max(segment.audio_s for segment in batch))
        self._running[engine] = RunningBatch(now_s, padded_s)
        return batch

    def finished(self, engine: int) -> float:
        """The engine's batch has run; when it was started. It is idle from here on."""
        return self._running.pop(engine).began_s

    def facts(self, now_s: float) -> QueueFacts:
        """How much waits and runs."""
        arrivals = [segment.arrival_s for segment in self._waiting.values() if segment.arrival_s > OFFLINE]
        return QueueFacts(
            segments=len(self._waiting),
            audio_s=self.waiting_s,
            oldest_s=now_s - min(arrivals, default=now_s),
            running=tuple(self._running.values()),
        )

    def _taken(self, numbers: Sequence[int]) -> list[Segment]:
        taken = [self._waiting.pop(number) for number in numbers]
        for number, segment in zip(numbers, taken, strict=True):
            self._queue.remove(number)
            waiting = self._of_owner[id(segment.owner)]
            del waiting[number]
            if not waiting:
                del self._of_owner[id(segment.owner)]
        # Exactly 0 once nothing is left: the rounding errors of sums would count as audio.
        left_s = self.waiting_s - sum(segment.audio_s for segment in taken)
        self.waiting_s = max(0.0, left_s) if self._waiting else 0.0
        return taken


class Lots(Generic[Segment]):
    """Brings segments of one reader together in lots, which are queued as a whole: whole batches, sorted by length.

    The first lot is half as large as the others, one batch for each engine: until it is there, they have nothing to do.
    """

    def __init__(self, lot_s: float) -> None:
        """Begin with nothing; ``lot_s`` is what a lot holds at least, in seconds of audio."""
        self._full_s, self._lot_s = lot_s / 2, lot_s
        self._lot: list[Segment] = []
        self._audio_s = 0.0

    def add(self, segment: Segment) -> list[Segment]:
        """Take a segment; the lot that is full with it, or nothing."""
        self._lot.append(segment)
        self._audio_s += segment.audio_s
        if self._audio_s < self._full_s:
            return []
        self._full_s = self._lot_s
        return self.rest()

    def rest(self) -> list[Segment]:
        """What no lot has been made of yet."""
        lot, self._lot, self._audio_s = self._lot, [], 0.0
        return lot


def reading_order(sizes: Sequence[float], readers: int) -> list[int]:
    """The order in which readers take recordings that are all there, as places in ``sizes`` (of any unit).

    Several take the largest first: were one begun last, the others would have nothing to do meanwhile.
    """
    places = range(len(sizes))
    return list(places) if readers == 1 else sorted(places, key=lambda place: -sizes[place])
