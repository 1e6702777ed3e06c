"""One recognizer on virtual time: readers, its own scheduler and lots, and engines that take what was measured."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from autotune.recognizer.admission import Admission
from autotune.recognizer.batching import Wait
from autotune.recognizer.scheduling import Lots, Scheduler, reading_order
from autotune.recognizer.streaming import MOST_INTERIM_S, Interims
from autotune.simulation.cores import Cores, Task
from autotune.simulation.replica import Batched, Machine, Piece, SimulatedRecording, Work

__all__ = ["Replica", "SimulatedStream"]


@dataclass(eq=False)
class _Underway:
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
    of: _Underway | None
    """None: an interim text."""
    together: bool = False


@dataclass(eq=False)
class _Hand:
    """A thread that brings segments to the scheduler, lot by lot."""

    owner: object
    limit_s: float
    """Seconds of its owner's audio that may wait."""
    blocked: list[_Segment] = field(default_factory=list, kw_only=True)
    """A lot that waits for room."""


@dataclass(eq=False)
class _Reader(_Hand):
    """A thread that reads one recording after the other."""

    lots: Lots[_Segment]
    recordings: deque[_Underway]
    """What it reads next; readers that work together share them."""
    at: _Underway | None = None
    piece: int = 0


@dataclass(eq=False)
class SimulatedStream(_Hand):
    """The thread that takes what is fed to one stream, one thing after the other."""

    underway: _Underway
    inbox: deque[tuple[Piece, ...] | float] = field(default_factory=deque)
    """Segments that one block has settled, or the seconds heard when an interim text was asked for."""
    interims: Interims = field(default_factory=Interims)
    settled_s: float = 0.0
    """Up to which second its audio is in segments."""
    working: bool = False


class Replica:
    """One recognizer. ``next_event_s`` says when something happens, ``advance`` lets it happen."""

    def __init__(self, machine: Machine, work: Work, done: Callable[[int, float], None]) -> None:
        """Stand idle at time 0; ``done`` is called with a recording's number and the time when its text is there."""
        self._machine, self._work, self._done = machine, work, done
        self.scheduler: Scheduler[_Segment] = Scheduler(machine.policy, machine.engines)
        self.cores = Cores(machine.cores, machine.engines, machine.beside)
        self.cores.background = machine.background
        self._admission = None if machine.limits is None else Admission(machine.limits, rtfx=1.0)
        self._held: dict[_Underway, AbstractContextManager[object]] = {}
        self._received: deque[_Underway] = deque()
        """Requests that the server's own thread has before it; it works on the first."""
        self._receiving: Task | None = None
        self._clients: set[Task] = set()
        self._spinning: dict[int, Task] = {}
        """Engine's number → its threads that spin."""
        self.batches: list[Batched] = []
        self._idle = deque(range(machine.engines))
        self._batches: dict[Task, tuple[int, list[_Segment], float]] = {}
        self._reading: dict[Task, _Reader] = {}
        self._featuring: dict[Task, tuple[SimulatedStream, list[_Segment]]] = {}
        self._interim_of: dict[_Segment, SimulatedStream] = {}
        self._streams = 0
        """Streams that are open."""
        self._blocked: deque[_Hand] = deque()
        self._wake_s = math.inf
        self.most_waiting_s = 0.0
        """Most seconds of audio that waited for an engine at once."""
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
                self._featured(*self._featuring.pop(task))
        self._feed_engines()

    def offline(self, numbered: Sequence[tuple[int, SimulatedRecording]]) -> None:
        """Recordings that are all there, read by the machine's readers, one owner's together."""
        readers = max(1, min(self._machine.readers, len(numbered)))
        order = reading_order([recording.audio_s for _, recording in numbered], readers)
        underway = deque(self._arrived(*numbered[place]) for place in order)
        owner = object()
        for _ in range(readers):
            lots: Lots[_Segment] = Lots(self._machine.limit_s / 2 / readers)
            self._read_on(_Reader(owner, self._machine.limit_s, lots, underway))
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

    def begin_stream(self, number: int, recording: SimulatedRecording) -> SimulatedStream:
        """A recording that begins to be spoken now; its pieces come by ``settle``. Raises Rejected."""
        underway = self._admitted(number, recording, stream=True)
        self.cores.background += self._machine.stream_cores
        self._streams += 1
        return SimulatedStream(underway, self._machine.ahead_s, underway)

    def settle(self, stream: SimulatedStream, pieces: tuple[Piece, ...]) -> None:
        """A block has settled a stream's next segments, at least one."""
        stream.inbox.append(pieces)
        self._take_in(stream)

    def hear(self, stream: SimulatedStream, heard_s: float) -> None:
        """So much of a stream has been heard by now: it may be time for an interim text."""
        if self._streams <= self._machine.interim_streams and stream.interims.due(heard_s):
            stream.inbox.append(heard_s)
            self._take_in(stream)

    def end_stream(self, stream: SimulatedStream) -> None:
        """A stream has been spoken to its end."""
        self.cores.background = max(self._machine.background, self.cores.background - self._machine.stream_cores)
        self._streams -= 1
        if not stream.underway.recording.pieces:
            self._text(stream.underway)

    def _take_in(self, stream: SimulatedStream) -> None:
        """Begin with what a stream was fed next, if its thread has nothing else to do: features, as it is called."""
        if stream.working or stream.blocked or not stream.inbox:
            return
        given = stream.inbox.popleft()
        if isinstance(given, float):
            audio_s = given - max(stream.settled_s, given - MOST_INTERIM_S)
            if audio_s <= 0:
                stream.interims.answered()
                self._take_in(stream)
                return
            read_s = audio_s * self._machine.interim_read_s
            segments = [_Segment(audio_s, self.now_s, 0.0, stream.owner, None)]
            self._interim_of[segments[0]] = stream
        else:
            stream.settled_s = given[-1].stop_s
            read_s = math.fsum(piece.read_s for piece in given)
            # Their audio arrived when it had been spoken, as in ``RecognizerStream``.
            segments = [_Segment(piece.audio_s, self.now_s, 0.0, stream.owner, stream.underway) for piece in given]
        stream.working = True
        self._featuring[task := Task(read_s, 1)] = stream, segments
        self.cores.begin(task)

    def _featured(self, stream: SimulatedStream, segments: list[_Segment]) -> None:
        stream.working = False
        if segments[0] in self._interim_of:
            self.scheduler.put(segments)
        else:
            self._queue(stream, segments)
        self._take_in(stream)

    def _arrived(self, number: int, recording: SimulatedRecording) -> _Underway:
        self.inside += 1
        return _Underway(number, recording, len(recording.pieces), recording.arrival_s)

    def _admitted(self, number: int, recording: SimulatedRecording, *, stream: bool) -> _Underway:
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

    def _read(self, underway: _Underway) -> None:
        underway.came_s = self.now_s
        lots: Lots[_Segment] = Lots(self._machine.limit_s / 2)
        self._read_on(_Reader(underway, self._machine.limit_s, lots, deque([underway])))

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

    def _queue(self, hand: _Hand, lot: list[_Segment]) -> bool:
        """Whether the lot waits for an engine now; else the thread waits for room."""
        if not lot or self.scheduler.offer(lot, hand.limit_s):
            return True
        hand.blocked = lot
        self._blocked.append(hand)
        return False

    def _feed_engines(self) -> None:
        """Give every idle engine what the scheduler has for it."""
        self._wake_s = math.inf
        self.most_waiting_s = max(self.most_waiting_s, self.scheduler.waiting_s)
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
        """There is room now: threads that waited for it go on."""
        for _ in range(len(self._blocked)):
            hand = self._blocked.popleft()
            lot, hand.blocked = hand.blocked, []
            if not self._queue(hand, lot):
                continue
            if isinstance(hand, SimulatedStream):
                self._take_in(hand)
            elif isinstance(hand, _Reader) and (hand.at is not None or hand.recordings):
                self._read_on(hand)

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
            if segment.of is None:
                self._interim_of.pop(segment).interims.answered()
                continue
            segment.of.left -= 1
            if not segment.of.left:
                self._text(segment.of)

    def _text(self, underway: _Underway) -> None:
        self.inside -= 1
        if (place := self._held.pop(underway, None)) is not None:
            place.__exit__(None, None, None)
        self._done(underway.number, self.now_s)
