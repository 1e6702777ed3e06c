"""Pacing: a shard's recordings one after another (closed loop) or at their arrival times (open loop)."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from autotune.audio.workload import Recording

__all__ = ["Arrival", "Spoken", "Transcribed", "Transcriber", "busy_seconds", "closed_loop", "open_loop", "replay"]

Arrival = Literal["closed", "open"]

LEAD_S = 0.01
"""Between deciding to begin and the first scheduled arrival, so that the first is not late already."""


class Spoken(Protocol):
    """What this module needs of a transcript."""

    @property
    def text(self) -> str:
        """The recording's text."""


class Transcriber(Protocol):
    """What this module needs of a recognizer."""

    def transcribe(self, audio: Sequence[Path]) -> Sequence[Spoken]:
        """Texts of recordings, in order."""

    def submit(self, audio: Path) -> Future[Any]:
        """Queue one recording; the future gives a Spoken. (Future is invariant, so it cannot be typed as that.)"""


@dataclass(frozen=True)
class Transcribed:
    """Recordings that were transcribed, in their order."""

    texts: tuple[str, ...]
    latencies_s: tuple[float, ...]
    """Closed loop: from the start of each; open loop: from its *scheduled* arrival, to its text."""
    processing_s: float
    """Wall seconds during which at least one recording was being read, waiting or running."""


def replay(recognizer: Transcriber, recordings: Sequence[Recording], arrival: Arrival) -> Transcribed:
    """Transcribe ``recordings`` at the pace that ``arrival`` says; what the recognizer raises is passed on."""
    return (open_loop if arrival == "open" else closed_loop)(recognizer, recordings)


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
    order = sorted(range(len(recordings)), key=lambda index: recordings[index].arrival_s)
    ends = _Ends(len(recordings))
    futures: dict[int, Future[Any]] = {}
    submitted = [0.0] * len(recordings)
    begin = time.perf_counter() + LEAD_S
    for index in order:
        if ends.failed.wait(max(0.0, begin + recordings[index].arrival_s - time.perf_counter())):
            break
        submitted[index] = time.perf_counter()
        futures[index] = recognizer.submit(Path(recordings[index].path))
        futures[index].add_done_callback(functools.partial(ends.stamp, index))
    ends.wait(len(futures))
    for future in futures.values():
        if future.done() and (error := future.exception()) is not None:
            raise error
    texts = {index: future.result().text for index, future in futures.items()}
    return Transcribed(
        texts=tuple(texts[index] for index in range(len(recordings))),
        latencies_s=tuple(ends.at[i] - begin - recording.arrival_s for i, recording in enumerate(recordings)),
        processing_s=busy_seconds(zip(submitted, ends.at, strict=True)),
    )


class _Ends:
    """When each future was done; callbacks run in the recognizer's threads."""

    def __init__(self, count: int) -> None:
        self.at = [0.0] * count
        self.failed = threading.Event()
        """Set by the first recording that failed: the rest need not be waited for."""
        self._done = 0
        self._changed = threading.Condition()

    def stamp(self, index: int, future: Future[Any]) -> None:
        now = time.perf_counter()
        if future.exception() is not None:
            self.failed.set()
        with self._changed:
            self.at[index] = now
            self._done += 1
            self._changed.notify_all()

    def wait(self, count: int) -> None:
        # Not Future.result(): it may return before the callbacks have run.
        with self._changed:
            self._changed.wait_for(lambda: self._done >= count or self.failed.is_set())


def busy_seconds(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of ``(start, end)`` intervals, in seconds."""
    busy, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return busy
