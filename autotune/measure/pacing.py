"""Pacing: recordings all at once, one after another, at their arrival times, or as they are spoken."""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from autotune.arrays import Float32
from autotune.audio import Recording, read_audio
from autotune.audio.profile import Arrival
from autotune.audio.reading import SAMPLE_RATE_HZ

__all__ = [
    "LEAD_S",
    "Busy",
    "Clock",
    "Spoken",
    "SpokenStream",
    "Together",
    "Transcribed",
    "Transcriber",
    "WarmUp",
    "busy_seconds",
    "closed_loop",
    "is_steady",
    "offline",
    "open_loop",
    "realtime",
    "replay",
    "spoken_at_once",
    "warm_up",
]

LEAD_S = 0.01
"""Seconds between deciding to begin and the first scheduled arrival, so that the first is not late already."""

BLOCK_SAMPLES = SAMPLE_RATE_HZ // 10
"""Samples that a speaking client sends at once: 0.1 s."""


class Spoken(Protocol):
    """What this module needs of a transcript."""

    @property
    def text(self) -> str:
        """What was recognised in the whole recording; empty where nothing was."""


class SpokenStream(Protocol):
    """A recording that is still being spoken."""

    def feed(self, samples: Float32) -> None:
        """Take the next samples: float32 [any number], 16 kHz mono, in −1..1."""

    def finish(self) -> Future[Any]:
        """End the recording; the future gives a Spoken, or raises what the recognizer raised."""


class Together(Protocol):
    """Recordings that are transcribed together."""

    @property
    def done_s(self) -> float:
        """Seconds of audio whose texts are there."""

    def result(self) -> Sequence[Spoken]:
        """Transcribe them; raises CancelledError after ``abandon``, or what the recognizer raised."""

    def abandon(self) -> None:
        """Give up, from any thread."""


class Busy(Protocol):
    """What this module needs of a recognizer's counters."""

    @property
    def busy_s(self) -> float:
        """Wall seconds during which at least one batch was running."""


class Transcriber(Protocol):
    """What this module needs of a recognizer."""

    def transcribe(self, audio: Sequence[Path]) -> Sequence[Spoken]:
        """The transcripts of recordings, in order. Raises AudioError for a file that can't be read."""

    def transcription(self, audio: Sequence[Path], on_transcript: Callable[[int, Any], None]) -> Together:
        """The same, calling ``on_transcript`` with each recording's place and its Spoken once that is there."""

    def submit(self, audio: Path) -> Future[Any]:
        """Queue one recording; the future gives a Spoken. (Future is invariant, so it cannot be typed as that.)"""

    def stream(self) -> SpokenStream:
        """Begin a recording that comes block by block."""

    def stats(self) -> Busy:
        """Counters since the last reset; ``busy_s`` only grows between resets."""


class Clock(Protocol):
    """Time, for tests to move."""

    def now(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def wait(self, until_s: float, woken: threading.Event) -> bool:
        """Return at ``until_s`` with False, or with True as soon as ``woken`` is set."""


class _WallClock:
    def now(self) -> float:
        # Monotonic: the clock of the day may be set while a shard is measured.
        return time.perf_counter()

    def wait(self, until_s: float, woken: threading.Event) -> bool:
        return woken.wait(max(0.0, until_s - time.perf_counter()))


@dataclass(frozen=True)
class Transcribed:
    """Recordings that were transcribed, in their order."""

    texts: tuple[str, ...]
    latencies_s: tuple[float, ...]
    """Seconds to each recording's text: from the start of the whole (offline), from its own start (closed loop), from
    its *scheduled* arrival (open loop), or from the moment when its last sample was to be spoken (real time)."""
    processing_s: float
    """Wall seconds during which the recognizer had something to do: at least one recording was being read, waiting or
    running; in real time, at least one batch was running, or samples were being taken in."""
    cut_short_s: float | None = None
    """Seconds of audio that were transcribed before it was given up, without texts; None: all was."""


def replay(
    recognizer: Transcriber, recordings: Sequence[Recording], arrival: Arrival, give_up_s: float = math.inf
) -> Transcribed:
    """Transcribe ``recordings`` at the pace that ``arrival`` says; what the recognizer raises is passed on.

    Recordings that are all there are given up after ``give_up_s`` seconds.
    """
    if arrival == "offline":
        return offline(recognizer, recordings, give_up_s)
    return {"closed": closed_loop, "open": open_loop, "realtime": realtime}[arrival](recognizer, recordings)


def offline(recognizer: Transcriber, recordings: Sequence[Recording], give_up_s: float = math.inf) -> Transcribed:
    """All recordings at once, as for whoever has an archive: MLPerf's Offline scenario."""
    at = [0.0] * len(recordings)
    started = time.perf_counter()

    def stamp(place: int, _: Spoken) -> None:
        at[place] = time.perf_counter() - started

    work = recognizer.transcription([Path(recording.path) for recording in recordings], stamp)
    timer = threading.Timer(min(give_up_s, threading.TIMEOUT_MAX), work.abandon)
    timer.daemon = True
    timer.start()
    try:
        transcripts = work.result()
        texts, cut_short_s = tuple(transcript.text for transcript in transcripts), None
    except CancelledError:
        texts, cut_short_s = (), work.done_s
    finally:
        timer.cancel()
    took_s = time.perf_counter() - started
    # A text is stamped by the thread that made it, which may be after ``result`` has seen it. One that isn't there when
    # the whole is given up would have come later still.
    return Transcribed(texts, tuple(moment or took_s for moment in at), took_s, cut_short_s)


def closed_loop(recognizer: Transcriber, recordings: Sequence[Recording]) -> Transcribed:
    """One recording at a time, the next when the last one's text is there."""
    texts, latencies = [], []
    for recording in recordings:
        started = time.perf_counter()
        (transcript,) = recognizer.transcribe([Path(recording.path)])
        latencies.append(time.perf_counter() - started)
        texts.append(transcript.text)
    return Transcribed(tuple(texts), tuple(latencies), sum(latencies))


def open_loop(recognizer: Transcriber, recordings: Sequence[Recording]) -> Transcribed:
    """Each recording at its ``arrival_s`` on an absolute clock, however far behind the recognizer is.

    A latency counts from the scheduled arrival, so a stall delays the figures of everything that arrived during it
    (no coordinated omission). The end is taken in the future's callback, not when this thread gets to look.
    """
    # In the order of time, whatever the order of the recordings: what is due must not wait for what isn't.
    order = sorted(range(len(recordings)), key=lambda index: recordings[index].arrival_s)
    clock = _WallClock()
    ends = _Ends(len(recordings), clock)
    submitted = [0.0] * len(recordings)
    begin = clock.now() + LEAD_S
    for index in order:
        if clock.wait(begin + recordings[index].arrival_s, ends.failed):
            break
        submitted[index] = clock.now()
        ends.expect(index, recognizer.submit(Path(recordings[index].path)))
    texts = ends.texts()
    return Transcribed(
        texts=texts,
        latencies_s=tuple(ends.at[i] - begin - recording.arrival_s for i, recording in enumerate(recordings)),
        processing_s=busy_seconds(zip(submitted, ends.at, strict=True)),
    )


def realtime(recognizer: Transcriber, recordings: Sequence[Recording], clock: Clock | None = None) -> Transcribed:
    """Each recording from its ``arrival_s`` on in blocks of 0.1 s, each when its last sample has been spoken.

    The clock is absolute: a recognizer that takes its time with one stream's samples makes all of them late, and
    their latencies show it. The audio is read before the clock starts (that is the client's work) and stays in memory.
    How long speech takes says nothing of the recognizer: ``processing_s`` counts what it was busy for.
    """
    clock = clock or _WallClock()
    waveforms = [read_audio(Path(recording.path)) for recording in recordings]
    ends = _Ends(len(recordings), clock)
    work = _Work(recognizer, clock)
    streams: dict[int, SpokenStream] = {}
    begin = clock.now() + LEAD_S
    starts_s = [begin + recording.arrival_s for recording in recordings]
    for due_s, index, first in _blocks(starts_s, waveforms):
        if clock.wait(due_s, ends.failed):
            break
        # Cutting and features are done in these calls, so they are the recognizer's work as much as its batches.
        with work.taking_in():
            if first == 0:
                streams[index] = recognizer.stream()
            streams[index].feed(waveforms[index][first : first + BLOCK_SAMPLES])
            ended = first + BLOCK_SAMPLES >= len(waveforms[index])
            future = streams.pop(index).finish() if ended else None
        if future is not None:
            ends.expect(index, future)
    texts = ends.texts()
    spoken_s = [start_s + len(waveform) / SAMPLE_RATE_HZ for start_s, waveform in zip(starts_s, waveforms, strict=True)]
    return Transcribed(
        texts=texts,
        latencies_s=tuple(at - end_s for at, end_s in zip(ends.at, spoken_s, strict=True)),
        processing_s=work.seconds(),
    )


def spoken_at_once(recognizer: Transcriber, audio: Path) -> Future[Any]:
    """Send a recording through a stream as fast as it takes it, for warming up; the future gives a Spoken."""
    stream, waveform = recognizer.stream(), read_audio(audio)
    for first in range(0, len(waveform), BLOCK_SAMPLES):
        stream.feed(waveform[first : first + BLOCK_SAMPLES])
    return stream.finish()


def _blocks(starts_s: Sequence[float], waveforms: Sequence[Float32]) -> list[tuple[float, int, int]]:
    """(when it has been spoken, which recording, its first sample) of every block, in the order of time."""
    return sorted(
        (start_s + min(first + BLOCK_SAMPLES, len(waveform)) / SAMPLE_RATE_HZ, index, first)
        for index, (start_s, waveform) in enumerate(zip(starts_s, waveforms, strict=True))
        for first in range(0, len(waveform), BLOCK_SAMPLES)
    )


class _Work:
    """How long the recognizer worked: its own busy seconds, and those spent in calls to it while no batch ran."""

    def __init__(self, recognizer: Transcriber, clock: Clock) -> None:
        self._recognizer, self._clock = recognizer, clock
        self._before_s = recognizer.stats().busy_s
        self._taking_in_s = 0.0

    @contextlib.contextmanager
    def taking_in(self) -> Iterator[None]:
        busy_s, started = self._recognizer.stats().busy_s, self._clock.now()
        yield
        # Batches that ran meanwhile are in its own busy seconds already.
        took_s, also_s = self._clock.now() - started, self._recognizer.stats().busy_s - busy_s
        self._taking_in_s += max(0.0, took_s - also_s)

    def seconds(self) -> float:
        return self._recognizer.stats().busy_s - self._before_s + self._taking_in_s


class _Ends:
    """The moments at which the recordings' texts were there; callbacks note them in the recognizer's threads."""

    def __init__(self, count: int, clock: Clock) -> None:
        self.at = [0.0] * count
        self.failed = threading.Event()
        """Set by the first recording that failed: the rest need not be waited for."""
        self._clock = clock
        self._futures: dict[int, Future[Any]] = {}
        self._done = 0
        self._changed = threading.Condition()

    def expect(self, index: int, future: Future[Any]) -> None:
        self._futures[index] = future
        future.add_done_callback(functools.partial(self._stamp, index))

    def texts(self) -> tuple[str, ...]:
        """Wait for the texts of all recordings; raises what the first one that failed raised."""
        # Not Future.result(): it may return before the callbacks have run.
        with self._changed:
            self._changed.wait_for(lambda: self._done >= len(self._futures) or self.failed.is_set())
        for future in self._futures.values():
            if future.done() and (error := future.exception()) is not None:
                raise error
        return tuple(self._futures[index].result().text for index in range(len(self.at)))

    def _stamp(self, index: int, future: Future[Any]) -> None:
        now = self._clock.now()
        if future.exception() is not None:
            self.failed.set()
        with self._changed:
            self.at[index] = now
            self._done += 1
            self._changed.notify_all()


def busy_seconds(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of ``(start, end)`` intervals, in seconds."""
    busy, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return busy


STEADY_PASSES = 3
"""Last passes of a warm-up that must agree."""
STEADY_WITHIN = 0.05
"""Passes agree when the shortest is shorter than the longest by no more than this share of it."""
MAX_PASSES = 8
MAX_S = 20.0
"""Seconds of warming up after which no further pass begins."""


@dataclass(frozen=True)
class WarmUp:
    """The times of the warm-up's passes, and whether they settled."""

    passes_s: tuple[float, ...]
    """Wall seconds of each pass."""

    @property
    def steady(self) -> bool:
        """Whether the last three passes agreed."""
        return is_steady(self.passes_s)


def warm_up(
    recognizer: Transcriber,
    recordings: Sequence[Recording],
    arrival: Arrival,
    *,
    now: Callable[[], float] = time.perf_counter,
) -> WarmUp:
    """Pass over ``recordings`` until the last three agree within 5 %, at most 8 passes or 20 s, at least once.

    Offline and in an open loop all recordings of a pass are there at once, so that batches form as they will later; in
    real time they go through streams, one behind the other without a pause.

    Args:
        recognizer: what is warmed up.
        recordings: those of one pass, at least one.
        arrival: how they will arrive when it is measured.
        now: the clock of the passes, in seconds.

    Raises:
        ValueError: there is no recording. What the recognizer raises is passed on.
    """
    if not recordings:
        raise ValueError("a workload must have at least one warm-up recording, but it has none")
    paths = [Path(recording.path) for recording in recordings]
    passes: list[float] = []
    while not passes or not (is_steady(passes) or len(passes) == MAX_PASSES or sum(passes) >= MAX_S):
        started = now()
        _pass(recognizer, paths, arrival)
        passes.append(now() - started)
    return WarmUp(tuple(passes))


def _pass(recognizer: Transcriber, paths: Sequence[Path], arrival: Arrival) -> None:
    if arrival in ("offline", "closed"):
        for together in [paths] if arrival == "offline" else [[path] for path in paths]:
            recognizer.transcribe(together)
        return
    send = recognizer.submit if arrival == "open" else functools.partial(spoken_at_once, recognizer)
    for future in [send(path) for path in paths]:
        future.result()


def is_steady(passes_s: Sequence[float]) -> bool:
    """Whether the last three of at least three passes agree."""
    last = passes_s[-STEADY_PASSES:]
    return len(last) == STEADY_PASSES and max(last) - min(last) <= STEADY_WITHIN * max(last)
