"""Closed and open loops against recognizers whose times are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.audio import Recording
from autotune.measure.pacing import (
    Busy,
    SpokenStream,
    Together,
    busy_seconds,
    closed_loop,
    offline,
    open_loop,
    replay,
)


@dataclass(frozen=True)
class Text:
    text: str


class OneWorker:
    """Transcribes a recording in the time that ``service`` says, one at a time."""

    def __init__(self, service: Callable[[str], None], read: Callable[[str], None] = lambda name: None) -> None:
        self._service, self._read = service, read
        self._pool = ThreadPoolExecutor(max_workers=1)
        self.submitted: list[str] = []

    def transcribe(self, audio: Sequence[Path]) -> list[Text]:
        return [self._one(path.name) for path in audio]

    def transcription(self, audio: Sequence[Path], on_transcript: Callable[[int, Any], None]) -> Together:
        raise NotImplementedError("it takes one after the other")

    def submit(self, audio: Path) -> Future[Text]:
        self._read(audio.name)
        self.submitted.append(audio.name)
        return self._pool.submit(self._one, audio.name)

    def stream(self) -> SpokenStream:
        raise NotImplementedError("nothing is streamed to it")

    def stats(self) -> Busy:
        raise NotImplementedError("it counts nothing")

    def _one(self, name: str) -> Text:
        self._service(name)
        return Text(f"text of {name}")


def recordings(*arrivals_s: float) -> list[Recording]:
    return [
        Recording(id=str(index), path=f"/audio/{index}", audio_s=1.0, arrival_s=arrival_s, text=None)
        for index, arrival_s in enumerate(arrivals_s)
    ]


def sleeping(seconds: float) -> Callable[[str], None]:
    return lambda name: time.sleep(seconds)


def test_closed_loop_takes_one_after_another() -> None:
    done = closed_loop(OneWorker(sleeping(0.02)), recordings(0, 0, 0))
    assert done.texts == ("text of 0", "text of 1", "text of 2")
    assert all(latency >= 0.02 for latency in done.latencies_s)
    assert done.processing_s == sum(done.latencies_s)


class AllAtOnce(OneWorker):
    """Gives the texts of a list one by one, each after the seconds that ``service`` takes."""

    def transcription(self, audio: Sequence[Path], on_transcript: Callable[[int, Any], None]) -> Together:
        return OneByOne(self, audio, on_transcript)


class OneByOne:
    def __init__(self, worker: OneWorker, audio: Sequence[Path], on_transcript: Callable[[int, Any], None]) -> None:
        self._worker, self._audio, self._on_transcript = worker, audio, on_transcript
        self._gone = False
        self.done_s = 0.0

    def result(self) -> list[Text]:
        texts = []
        for place, path in enumerate(self._audio):
            texts += self._worker.transcribe([path])
            if self._gone:
                raise CancelledError
            self._on_transcript(place, texts[-1])
            self.done_s += 1.0
        return texts

    def abandon(self) -> None:
        self._gone = True


def test_offline_counts_the_whole() -> None:
    done = replay(AllAtOnce(sleeping(0.02)), recordings(0, 0, 0), "offline")
    assert done.texts == ("text of 0", "text of 1", "text of 2")
    assert list(done.latencies_s) == sorted(done.latencies_s)
    assert done.latencies_s[2] >= 0.06 > done.latencies_s[0]
    assert done.processing_s >= done.latencies_s[2]
    assert done.cut_short_s is None


def test_what_is_hopeless_offline_is_given_up() -> None:
    done = offline(AllAtOnce(sleeping(0.05)), recordings(*[0] * 100), give_up_s=0.12)
    assert done.texts == ()
    assert done.cut_short_s is not None
    assert 1.0 <= done.cut_short_s < 100.0
    assert len(done.latencies_s) == 100
    assert done.latencies_s[99] == done.processing_s >= 0.12


def test_open_loop_latency_counts_from_the_scheduled_arrival() -> None:
    arrivals_s = (0.0, 0.01, 0.02, 0.03)
    done = open_loop(OneWorker(sleeping(0.05)), recordings(*arrivals_s))
    assert done.texts == tuple(f"text of {index}" for index in range(4))
    for index, (latency, arrival_s) in enumerate(zip(done.latencies_s, arrivals_s, strict=True)):
        assert latency >= 0.05 * (index + 1) - arrival_s - 1e-6  # everybody before it was served first
    assert done.processing_s >= 4 * 0.05


def test_a_stall_while_submitting_delays_everything_that_arrived_during_it() -> None:
    def stall(name: str) -> None:
        if name == "0":
            time.sleep(0.2)

    done = open_loop(OneWorker(sleeping(0), read=stall), recordings(0.0, 0.05, 0.1))
    assert done.latencies_s[0] >= 0.2
    assert done.latencies_s[1] >= 0.15
    assert done.latencies_s[2] >= 0.1


def test_processing_does_not_count_the_gaps_between_arrivals() -> None:
    began = time.perf_counter()
    done = open_loop(OneWorker(sleeping(0)), recordings(0.0, 0.2))
    wall = time.perf_counter() - began
    assert wall >= 0.2
    assert done.processing_s < wall
    assert done.processing_s <= sum(done.latencies_s)


def test_recordings_are_submitted_by_arrival_and_come_back_in_their_order() -> None:
    worker = OneWorker(sleeping(0))
    done = replay(worker, recordings(0.04, 0.0, 0.02), "open")
    assert worker.submitted == ["1", "2", "0"]
    assert done.texts == ("text of 0", "text of 1", "text of 2")


def test_a_failure_ends_the_replay_without_waiting_for_the_rest() -> None:
    def fail(name: str) -> None:
        raise RuntimeError(f"cannot transcribe {name}")

    worker = OneWorker(fail)
    with pytest.raises(RuntimeError, match="cannot transcribe 0"):
        open_loop(worker, recordings(0.0, 3600.0))
    assert worker.submitted == ["0"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted), max_size=8))
def test_busy_seconds_is_the_length_of_the_union(intervals: list[list[int]]) -> None:
    covered = {second for start, end in intervals for second in range(start, end)}
    assert busy_seconds((float(start), float(end)) for start, end in intervals) == len(covered)
