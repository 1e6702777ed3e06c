"""Recordings spoken in real time: against a recognizer whose work moves a clock, and against a real one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from autotune.arrays import Float32
from autotune.audio import Recording, read_audio
from autotune.measure.pacing import LEAD_S, Together, realtime, replay
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Recognizer


@dataclass
class MovedClock:
    """Time passes when somebody waits or works."""

    at_s: float = 0.0

    def now(self) -> float:
        return self.at_s

    def wait(self, until_s: float, woken: threading.Event) -> bool:
        self.at_s = max(self.at_s, until_s)
        return woken.is_set()


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Counters:
    busy_s: float


@dataclass
class Listener:
    """Takes ``feed_s`` for a block, while no batch runs, and ``finish_s`` for the recognition at the end."""

    clock: MovedClock
    feed_s: float = 0.0
    finish_s: float = 0.0
    error: Exception | None = None
    busy_s: float = 0.0
    streams: list[Stream] = field(default_factory=list)

    def transcribe(self, audio: Sequence[Path]) -> Sequence[Text]:
        raise NotImplementedError("it only listens")

    def transcription(self, audio: Sequence[Path], on_transcript: Callable[[int, Any], None]) -> Together:
        raise NotImplementedError("it only listens")

    def submit(self, audio: Path) -> Future[Text]:
        raise NotImplementedError("it only listens")

    def stream(self) -> Stream:
        self.streams.append(Stream(self))
        return self.streams[-1]

    def stats(self) -> Counters:
        return Counters(self.busy_s)


@dataclass
class Stream:
    recognizer: Listener
    blocks: list[Float32] = field(default_factory=list)
    fed_at_s: list[float] = field(default_factory=list)

    def feed(self, samples: Float32) -> None:
        self.blocks.append(samples)
        self.fed_at_s.append(self.recognizer.clock.at_s)
        self.recognizer.clock.at_s += self.recognizer.feed_s

    def finish(self) -> Future[Text]:
        self.recognizer.clock.at_s += self.recognizer.finish_s
        self.recognizer.busy_s += self.recognizer.finish_s
        future: Future[Text] = Future()
        if self.recognizer.error is not None:
            future.set_exception(self.recognizer.error)
        else:
            future.set_result(Text(f"{sum(len(block) for block in self.blocks)} samples"))
        return future


@pytest.fixture
def spoken(tmp_path: Path) -> list[Recording]:
    """Three recordings: 0.35 s at once, 0.5 s beside it from 0.1 s on, 0.2 s after the first."""
    rng = np.random.default_rng(0)
    recordings = []
    for name, audio_s, arrival_s in (("a", 0.35, 0.0), ("b", 0.5, 0.1), ("c", 0.2, 0.35)):
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, rng.uniform(-0.5, 0.5, round(audio_s * 16_000)), 16_000)
        recordings.append(Recording(id=name, path=str(path), audio_s=audio_s, arrival_s=arrival_s, text=None))
    return recordings


def test_every_block_is_fed_when_it_has_been_spoken(spoken: list[Recording]) -> None:
    clock = MovedClock(100.0)
    listener = Listener(clock)
    done = realtime(listener, spoken, clock)
    assert done.texts == ("5600 samples", "8000 samples", "3200 samples")
    first, second, third = listener.streams
    begin = 100.0 + LEAD_S
    assert first.fed_at_s == pytest.approx([begin + 0.1, begin + 0.2, begin + 0.3, begin + 0.35])
    assert second.fed_at_s == pytest.approx([begin + 0.1 + 0.1 * block for block in range(1, 6)])
    assert third.fed_at_s == pytest.approx([begin + 0.45, begin + 0.55])
    for stream, recording in zip(listener.streams, spoken, strict=True):
        np.testing.assert_array_equal(np.concatenate(stream.blocks), read_audio(Path(recording.path)))
    assert done.latencies_s == pytest.approx([0, 0, 0], abs=1e-9)
    assert done.processing_s == 0


def test_latency_counts_from_the_last_word_and_work_is_what_kept_the_recognizer_busy(spoken: list[Recording]) -> None:
    clock = MovedClock()
    listener = Listener(clock, feed_s=0.01, finish_s=0.05)
    done = realtime(listener, spoken[:1], clock)
    assert done.latencies_s == pytest.approx([0.06])
    # Four blocks taken in, and the recognition once, although finish() held the caller up for as long.
    assert done.processing_s == pytest.approx(4 * 0.01 + 0.05)


def test_a_stall_makes_everybody_late(spoken: list[Recording]) -> None:
    clock = MovedClock()
    done = realtime(Listener(clock, finish_s=2.0), spoken, clock)
    # a ends at 0.35 and is there at 2.35; the last samples of c (0.55) and b (0.6) only then find an ear.
    assert done.latencies_s == pytest.approx([2.0, 2.35 + 4.0 - 0.6, 2.35 + 2.0 - 0.55])
    assert done.processing_s == pytest.approx(6.0)


def test_a_failure_ends_it_at_once(spoken: list[Recording]) -> None:
    clock = MovedClock()
    listener = Listener(clock, error=RuntimeError("cannot hear"))
    with pytest.raises(RuntimeError, match="cannot hear"):
        realtime(listener, [*spoken, spoken[0].model_copy(update={"arrival_s": 3600.0})], clock)
    assert clock.at_s < 1
    assert len(listener.streams) == 2  # c was about to begin


def test_the_recognizer_hears_what_is_spoken(spoken: list[Recording], model_path: Path, make_deployment: Any) -> None:
    started = time.perf_counter()
    with Recognizer.load(make_deployment(), ModelDirectory.open(model_path)) as recognizer:
        done = replay(recognizer, spoken, "realtime")
        whole = recognizer.transcribe([Path(recording.path) for recording in spoken])
    assert time.perf_counter() - started >= 0.6  # b is spoken to its end
    assert all(latency >= 0 for latency in done.latencies_s)
    assert done.texts == tuple(transcript.text for transcript in whole)
    assert 0 < done.processing_s <= time.perf_counter() - started


def test_a_workload_may_be_spoken(make_workload: Any) -> None:
    clock = MovedClock()
    shard = make_workload("realtime", shards=1).shards[0]
    done = realtime(Listener(clock, finish_s=0.1), shard.recordings, clock)
    assert len(done.texts) == len(shard.recordings)
    assert clock.at_s >= max(recording.audio_s for recording in shard.recordings)
