"""One recognizer on virtual time: readers, its own scheduler and lots, and engines that take what was measured."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from autotune.deployment import Batch
from autotune.recognizer.admission import Admission, Limits
from autotune.recognizer.batching import Wait
from autotune.recognizer.scheduling import Lots, Scheduler
from autotune.simulation.cores import Cores, Task

__all__ = ["BatchTime", "Batched", "Machine", "Piece", "Replica", "SimulatedRecording", "Underway", "Work"]


@dataclass(frozen=True)
class Piece:
    """A segment that a recording will be cut into."""

    audio_s: float
    read_s: float
    """Core-seconds from the piece before to this one: reading, speech detection, features."""
    before_s: float = 0.0
    """Seconds of the recording that lie before it."""
    settled_s: float = 0.0
    """Of a spoken recording: seconds from its beginning until this segment is known to have ended."""


@dataclass(frozen=True)
class SimulatedRecording:
    """A recording as the simulation sees it: no audio, only when it arrives and what it is cut into."""

    arrival_s: float
    """When it is there, or begins to be spoken; ``OFFLINE``: all are there from the beginning."""
    pieces: tuple[Piece, ...]
    spoken_s: float | None = None
    """How long it is spoken; its latency counts from then on. None: it is there as a whole."""
    audio_s: float = 0.0
    """How long it is; what a server's limits and its receiving go by."""


@dataclass(frozen=True)
class BatchTime:
    """How long a batch takes."""

    alone_s: float
    """Wall seconds while no other engine runs."""
    crowded_speed: float
    """How fast it is while all engines run, relative to that; above 0."""


Work = Callable[[int, float], BatchTime]
"""What a batch takes, as measured, with its noise: of so many segments, each padded to so many seconds."""


@dataclass(frozen=True)
class Machine:
    """What a replica runs on and how; all of it is the deployment's and the hardware's."""

    policy: Batch
    engines: int
    threads: int
    """Of each engine."""
    cores: int
    limit_s: float = math.inf
    """Seconds of audio of one owner that may wait, see ``recognizer.intake.queue_limit_s``."""
    readers: int = 1
    """Offline, how many threads read; else each recording has one of its own."""
    stream_cores: float = 0.0
    """Cores that one open stream keeps busy beside its segments: speech detection goes on while nobody speaks."""
    beside: tuple[float, float] = (1.0, 1.0)
    """See ``Cores``."""
    spin_s: float = 0.0
    """Core-seconds for which each thread of an engine but one spins after a batch if no other one follows."""
    front_s: float = 0.0
    """Seconds for each request of the server's own process, whose one thread receives them one after the other."""
    front_audio_s: float = 0.0
    """The same for each second of a request's audio."""
    client_s: float = 0.0
    """Core-seconds for each request of a client that runs on the same machine."""
    background: float = 0.0
    """Cores that something else keeps busy all the time."""
    limits: Limits | None = None
    """What is turned away; None: nothing."""


@dataclass(frozen=True)
class Batched:
    """A batch that ran."""

    size: int
    audio_s: float
    padded_s: float
    """Of each segment."""
    began_s: float
    ended_s: float


@dataclass(eq=False)
class Underway:
    """A recording between its arrival and its text."""

    number: int
    recording: SimulatedRecording
    left: int
    """Pieces without a text."""
    came_s: float
    """When the recognizer got it, from which its batches wait for company; ``OFFLINE`` as the recording's arrival."""


@dataclass(eq=False)
class _Segment:
    """A piece that waits for an engine, as the scheduler sees it (``scheduling.Waiting``)."""

    audio_s: float
    arrival_s: float
    before_s: float
    owner: object
    of: Underway
    together: bool = False


@dataclass(eq=False)
class _Reader:
    """A thread that reads one recording after the other."""

    owner: object
    lots: Lots[_Segment]
    recordings: deque[Underway]
    """What it reads next; readers that work together share them."""
    at: Underway | None = None
    piece: int = 0
    blocked: list[_Segment] = field(default_factory=list)
    """A lot that waits for room."""


class Replica:
    """One recognizer. ``next_event_s`` says when something happens, ``advance`` lets it happen."""

    def __init__(self, machine: Machine, work: Work, done: Callable[[int, float], None]) -> None:
        """Stand idle at time 0; ``done`` is called with a recording's number and the time when its text is there."""
        self._machine, self._work, self._done = machine, work, done
        self.scheduler: Scheduler[_Segment] = Scheduler(machine.policy, machine.engines)
        self.cores = Cores(machine.cores, machine.engines, machine.beside)
        self.cores.background = machine.background
        self._admission = None if machine.limits is None else Admission(machine.limits, rtfx=1.0)
        self._held: dict[Underway, AbstractContextManager[object]] = {}
        self._received: deque[Underway] = deque()
        """Requests that the server's own thread has before it; it works on the first."""
        self._receiving: Task | None = None
        self._clients: set[Task] = set()
        self._spinning: dict[int, Task] = {}
        """Engine's number → its threads that spin."""
        self.batches: list[Batched] = []
        self._idle = deque(range(machine.engines))
        self._batches: dict[Task, tuple[int, list[_Segment], float]] = {}
        self._reading: dict[Task, _Reader] = {}
        self._featuring: dict[Task, _Segment] = {}
        self._blocked: deque[_Reader] = deque()
        self._wake_s = math.inf
        self.inside = 0
        """Recordings that have arrived and have no text."""

    @property
    def now_s(self) -> float:
        """Virtual seconds since the beginning, by which everything before has happened here."""
        return self.cores.now_s

    def next_event_s(self) -> float:
        """When something happens if nothing arrives before; infinite where nothing will."""
        return min(self.cores.next_end_s(), self._wake_s)

    def advance(self, to_s: float) -> None:
        """Let time pass to ``to_s``, which is no later than ``next_event_s``, and what ends then end."""
        for task in self.cores.advance(to_s):
            if task in self._batches:
                self._batch_ended(task)
            elif task in self._reading:
                self._piece_read(self._reading.pop(task))
            elif task is self._receiving:
                self._receiving = None
                self._read(self._received.popleft())
                self._receive()
            elif task in self._clients:
                self._clients.remove(task)
            elif task.idle:
                self._spinning = {engine: spin for engine, spin in self._spinning.items() if spin is not task}
            else:
                self.scheduler.put([self._featuring.pop(task)])
        self._feed_engines()

    def offline(self, numbered: Sequence[tuple[int, SimulatedRecording]]) -> None:
        """Recordings that are all there, read by the machine's readers, one owner's together."""
        underway = deque(self._arrived(number, recording) for number, recording in numbered)
        owner = object()
        readers = max(1, min(self._machine.readers, len(underway)))
        for _ in range(readers):
            lots: Lots[_Segment] = Lots(self._machine.limit_s / 2 / readers)
            self._read_on(_Reader(owner, lots, underway))
        self._feed_engines()

    def request(self, number: int, recording: SimulatedRecording) -> None:
        """A recording that is there as a whole now, read by a thread of its own. Raises Rejected."""
        underway = self._admitted(number, recording, stream=False)
        if self._machine.client_s:
            self._clients.add(task := Task(self._machine.client_s, 1))
            self.cores.begin(task)
        self._received.append(underway)
        self._receive()
        self._feed_engines()

    def begin_stream(self, number: int, recording: SimulatedRecording) -> Underway:
        """A recording that begins to be spoken now; its pieces come by ``settle``. Raises Rejected."""
        underway = self._admitted(number, recording, stream=True)
        self.cores.background += self._machine.stream_cores
        return underway

    def settle(self, stream: Underway, piece: Piece) -> None:
        """A stream's next segment has ended."""
        # Its audio arrived when it had been spoken, as in ``RecognizerStream``.
        segment = _Segment(piece.audio_s, self.now_s, 0.0, stream, stream)
        self._featuring[task := Task(piece.read_s, 1)] = segment
        self.cores.begin(task)

    def end_stream(self, stream: Underway) -> None:
        """A stream has been spoken to its end."""
        self.cores.background = max(self._machine.background, self.cores.background - self._machine.stream_cores)
        if not stream.recording.pieces:
            self._text(stream)

    def _arrived(self, number: int, recording: SimulatedRecording) -> Underway:
        self.inside += 1
        return Underway(number, recording, len(recording.pieces), recording.arrival_s)

    def _admitted(self, number: int, recording: SimulatedRecording, *, stream: bool) -> Underway:
        if self._admission is None:
            return self._arrived(number, recording)
        place: AbstractContextManager[object] = (
            self._admission.stream() if stream else self._admission.recording(recording.audio_s)
        )
        place.__enter__()
        underway = self._arrived(number, recording)
        self._held[underway] = place
        return underway

    def _receive(self) -> None:
        """Let the server's own thread begin with the next request, if it has nothing else to do."""
        machine = self._machine
        while self._receiving is None and self._received:
            front_s = machine.front_s + machine.front_audio_s * self._received[0].recording.audio_s
            if front_s:
                self._receiving = Task(front_s, 1)
                self.cores.begin(self._receiving)
            else:
                self._read(self._received.popleft())

    def _read(self, underway: Underway) -> None:
        underway.came_s = self.now_s
        lots: Lots[_Segment] = Lots(self._machine.limit_s / 2)
        self._read_on(_Reader(underway, lots, deque([underway])))

    def _read_on(self, reader: _Reader) -> None:
        """Begin with the reader's next piece, or its next recording, or end it."""
        while True:
            if reader.at is None:
                if not reader.recordings:
                    self._queue(reader, reader.lots.rest())
                    return
                reader.at, reader.piece = reader.recordings.popleft(), 0
            pieces = reader.at.recording.pieces
            if reader.piece < len(pieces):
                self._reading[task := Task(pieces[reader.piece].read_s, 1)] = reader
                self.cores.begin(task)
                return
            if not pieces:
                self._text(reader.at)
            reader.at = None

    def _piece_read(self, reader: _Reader) -> None:
        assert reader.at is not None
        piece = reader.at.recording.pieces[reader.piece]
        reader.piece += 1
        segment = _Segment(piece.audio_s, reader.at.came_s, piece.before_s, reader.owner, reader.at)
        lot = reader.lots.add(segment)
        if self._queue(reader, lot):
            self._read_on(reader)

    def _queue(self, reader: _Reader, lot: list[_Segment]) -> bool:
        """Whether the lot waits for an engine now; else the reader waits for room."""
        if not lot:
            return True
        needed_s = sum(segment.audio_s for segment in lot)
        if self.scheduler.has_room(reader.owner, needed_s, self._machine.limit_s):
            self.scheduler.put(lot)
            return True
        reader.blocked = lot
        self._blocked.append(reader)
        return False

    def _feed_engines(self) -> None:
        """Give every idle engine what the scheduler has for it."""
        self._wake_s = math.inf
        while self._idle:
            given = self.scheduler.next(self._idle[0], self.now_s)
            if isinstance(given, Wait):
                self._wake_s = given.until_s
            if given is None or isinstance(given, Wait):
                return
            engine = self._idle.popleft()
            if (spin := self._spinning.pop(engine, None)) is not None:
                self.cores.cancel(spin)
            padded_s = self._machine.policy.padded_s(max(segment.audio_s for segment in given))
            took = self._work(len(given), padded_s)
            task = Task(took.alone_s, self._machine.threads, took.crowded_speed)
            self._batches[task] = (engine, given, padded_s)
            self.cores.begin(task)
            self._unblock()

    def _unblock(self) -> None:
        """There is room now: readers that waited for it go on."""
        for _ in range(len(self._blocked)):
            reader = self._blocked.popleft()
            lot, reader.blocked = reader.blocked, []
            if self._queue(reader, lot) and (reader.at is not None or reader.recordings):
                self._read_on(reader)

    def _batch_ended(self, task: Task) -> None:
        engine, segments, padded_s = self._batches.pop(task)
        began_s = self.scheduler.finished(engine)
        self._idle.append(engine)
        if self._machine.spin_s and self._machine.threads > 1:
            self._spinning[engine] = spin = Task(self._machine.spin_s, self._machine.threads - 1, idle=True)
            self.cores.begin(spin)
        audio_s = sum(segment.audio_s for segment in segments)
        self.batches.append(Batched(len(segments), audio_s, padded_s, began_s, self.now_s))
        for segment in segments:
            segment.of.left -= 1
            if not segment.of.left:
                self._text(segment.of)

    def _text(self, underway: Underway) -> None:
        self.inside -= 1
        if (place := self._held.pop(underway, None)) is not None:
            place.__exit__(None, None, None)
        self._done(underway.number, self.now_s)
