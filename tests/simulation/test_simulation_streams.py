"""Streams of a real recognizer, replayed on virtual time, form the same batches in the same order."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autotune.arrays import Float32
from autotune.audio.embedded import embedded_clips
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deployment import Batch, Chunking
from autotune.engines.fake import FakeEngine
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Recognizer, dispatcher
from autotune.recognizer.batching import Wait
from autotune.recognizer.chunking import Chunkers
from autotune.recognizer.scheduling import Scheduler
from autotune.recognizer.streaming import Interims
from autotune.simulation import running
from autotune.simulation.replica import BatchTime, Machine, Piece, SimulatedRecording
from autotune.simulation.running import Replica
from autotune.simulation.simulate import simulate
from tests.fake_engine import fake_deployment, write_fake_model

VAD = Chunking(method="vad", vad_model="silero", max_segment_s=4, merge_s=0, min_silence_s=0.2, pad_s=0.1)
POLICY = Batch(max_size=3, max_audio_s=30, max_wait_s=0)
ENGINES, STREAMS, AHEAD_S = 2, 4, 6.0
BLOCK = SAMPLE_RATE_HZ // 2
Member = tuple[int, float]
"""A stream's number, and the seconds of one of its segments or interim texts."""


class Watched(Scheduler[Any]):
    """Tells what it decides; the latest one is ``latest``."""

    latest: Watched

    def __init__(self, policy: Batch, engines: int) -> None:
        super().__init__(policy, engines)
        self.batches: list[list[Any]] = []
        self.running_batches: dict[int, int] = {}
        """By engine, the place of its batch."""
        self.asked: set[int] = set()
        """Engines that got nothing since the queue changed."""
        self.refused: dict[object, bool] = {}
        self.refusals = 0
        Watched.latest = self

    def put(self, segments: Any) -> None:
        self.asked.clear()
        super().put(segments)

    def offer(self, lot: Sequence[Any], limit_s: float) -> bool:
        given = super().offer(lot, limit_s)
        self.refused[lot[0].owner] = not given
        self.refusals += not given
        return given

    def next(self, engine: int, now_s: float) -> list[Any] | Wait | None:
        given = super().next(engine, now_s)
        if isinstance(given, list):
            # Whoever waits for room, and every idle engine, looks again.
            self.asked.clear()
            self.refused.clear()
            self.running_batches[engine] = len(self.batches)
            self.batches.append(given)
        else:
            assert given is None
            self.asked.add(engine)
        return given

    def finished(self, engine: int) -> float:
        del self.running_batches[engine]
        return super().finished(engine)

    def stands_still(self, engines: int) -> bool:
        """Whether each engine runs or has found nothing to run."""
        return set(range(engines)) - self.running_batches.keys() <= self.asked


@dataclass
class Speaker:
    """A stream and the thread that takes what it is fed, as in the server's worker."""

    number: int
    stream: Any
    samples: Float32
    fed: int = 0
    posted: int = 0
    done: int = 0
    ended: bool = False
    interims: Interims = field(default_factory=Interims)
    inbox: queue.SimpleQueue[Callable[[], object] | None] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while (step := self.inbox.get()) is not None:
            step()
            self.done += 1

    def post(self, step: Callable[[], object]) -> None:
        self.posted += 1
        self.inbox.put(step)

    def ask_interim(self) -> None:
        self.stream.interim().add_done_callback(lambda _: self.interims.answered())


@dataclass(frozen=True)
class Step:
    """What happened outside of the scheduler, at the time of its place in the list."""

    stream: int | None = None
    """Whose next block came, or whose end; None: an engine's batch ended."""
    block: tuple[int, int] | None = None
    batch: int = -1


@pytest.fixture(scope="module")
def voices() -> list[Float32]:
    clips = [clip.waveform for clip in embedded_clips()]
    pause = np.zeros(SAMPLE_RATE_HZ // 2, np.float32)
    return [
        np.concatenate([part for clip in clips[6 * number : 6 * number + 6] for part in (clip, pause)])
        for number in range(STREAMS)
    ]


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, queue.SimpleQueue[None]]]:
    """Engine's thread → what lets its batch end."""
    found = {f"autotune-engine-{number}": queue.SimpleQueue[None]() for number in range(ENGINES)}
    run = FakeEngine.run

    def gated(self: FakeEngine, batch: Any, *, scores: bool = False) -> Any:
        gate = found.get(threading.current_thread().name)
        if gate is not None:
            gate.get()
        return run(self, batch, scores=scores)

    monkeypatch.setattr(FakeEngine, "run", gated)
    monkeypatch.setattr(dispatcher, "Scheduler", Watched)
    yield found
    for gate in found.values():
        for _ in range(1000):
            gate.put(None)


def played(
    ours: Recognizer, voices: Sequence[Float32], gates: dict[str, queue.SimpleQueue[None]]
) -> tuple[list[Step], list[list[Member]], list[int]]:
    """Streams are spoken and batches end in an order that chance gives.

    After each step everything stands still before the next: the order of all is known, and nothing depends on threads.

    Returns:
        The steps, the batches, and during which step each batch began.
    """
    watched, choices, steps = Watched.latest, random.Random(4), list[Step]()
    began: list[int] = []
    speakers = [Speaker(number, ours.stream(ahead_s=AHEAD_S), samples) for number, samples in enumerate(voices)]
    owners = {id(speaker.stream.owner): speaker.number for speaker in speakers}

    def still() -> None:
        def moves(speaker: Speaker) -> bool:
            return speaker.done < speaker.posted and not watched.refused.get(speaker.stream.owner)

        while any(map(moves, speakers)) or not watched.stands_still(ENGINES):
            time.sleep(0.0005)

    still()
    while watched.running_batches or any(not speaker.ended for speaker in speakers):
        # One that waits for room is fed on, and no other one: which of two goes on first is for threads to say.
        waiting = [speaker for speaker in speakers if speaker.done < speaker.posted]
        speaking = [speaker for speaker in waiting or speakers if not speaker.ended]
        if watched.running_batches and (not speaking or choices.random() < 0.06):
            engine = choices.choice(sorted(watched.running_batches))
            batch = watched.running_batches[engine]
            steps.append(Step(batch=batch))
            gates[f"autotune-engine-{engine}"].put(None)
            while watched.running_batches.get(engine) == batch:
                time.sleep(0.0005)
        else:
            speaker = choices.choice(speaking)
            first, stop = speaker.fed, min(speaker.fed + BLOCK, len(speaker.samples))
            if first == stop:
                speaker.ended = True
                steps.append(Step(speaker.number))
                speaker.post(speaker.stream.finish)
            else:
                speaker.fed = stop
                steps.append(Step(speaker.number, (first, stop)))
                speaker.post(partial(speaker.stream.feed, speaker.samples[first:stop]))
                if speaker.interims.due(stop / SAMPLE_RATE_HZ):
                    speaker.post(speaker.ask_interim)
        still()
        began += [len(steps) - 1] * (len(watched.batches) - len(began))
    for speaker in speakers:
        speaker.inbox.put(None)
        speaker.thread.join()
    return steps, [[(owners[id(job.owner)], job.audio_s) for job in batch] for batch in watched.batches], began


def cut(samples: Float32) -> list[tuple[Piece, ...]]:
    """What each block of a stream settles, and what its end does."""
    chunker = Chunkers(VAD).new(None, live=True)
    lots = [chunker.push(samples[first : first + BLOCK]) for first in range(0, len(samples), BLOCK)]
    return [
        tuple(Piece(len(piece.samples) / SAMPLE_RATE_HZ, 0.0, stop_s=piece.stop / SAMPLE_RATE_HZ) for piece in lot)
        for lot in [*lots, chunker.finish()]
    ]


def replayed(steps: Sequence[Step], voices: Sequence[Float32], began: Sequence[int]) -> list[list[Member]]:
    """The batches of the same steps on virtual time; ``began``: during which step each batch began."""
    ends = {step.batch: float(place) for place, step in enumerate(steps) if step.stream is None}
    numbers = iter(range(len(ends)))

    def work(size: int, padded_s: float) -> BatchTime:
        number = next(numbers)
        return BatchTime(ends[number] - began[number], 1.0)

    machine = Machine(policy=POLICY, engines=ENGINES, threads=1, cores=64, ahead_s=AHEAD_S, interim_streams=STREAMS)
    texts: Counter[int] = Counter()
    ours = Replica(machine, work, lambda number, _: texts.update([number]))
    watched = Watched.latest
    settled = [cut(voice) for voice in voices]
    streams = [
        ours.begin_stream(number, SimulatedRecording(0.0, tuple(piece for lot in lots for piece in lot), 1.0))
        for number, lots in enumerate(settled)
    ]
    for place, step in enumerate(steps):
        ours.advance(float(place))
        if step.stream is not None:
            stream = streams[step.stream]
            if lot := settled[step.stream].pop(0):
                ours.settle(stream, lot)
            if step.block is None:
                ours.end_stream(stream)
            else:
                ours.hear(stream, step.block[1] / SAMPLE_RATE_HZ)
        while ours.next_event_s() <= place:
            ours.advance(float(place))
    assert texts == dict.fromkeys(range(len(voices)), 1)
    owners = {id(stream.owner): number for number, stream in enumerate(streams)}
    return [[(owners[id(segment.owner)], round(segment.audio_s, 6)) for segment in batch] for batch in watched.batches]


def test_a_recorded_run_of_streams_gives_the_same_batches_on_virtual_time(
    tmp_path: Path,
    voices: list[Float32],
    gates: dict[str, queue.SimpleQueue[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deployment = fake_deployment(batch=POLICY.model_dump(), chunking=VAD.model_dump(), instances=ENGINES)
    with Recognizer.load(deployment, ModelDirectory.open(write_fake_model(tmp_path))) as ours:
        steps, batches, began = played(ours, voices, gates)
        assert Watched.latest.refusals > 5, "streams waited for room"
    segments = {(stream, piece.audio_s) for stream, voice in enumerate(voices) for lot in cut(voice) for piece in lot}
    members = [member for batch in batches for member in batch]
    assert len(set(members) - segments) > 10, "interim texts were among them"
    assert max(map(len, batches)) == POLICY.max_size
    monkeypatch.setattr(running, "Scheduler", Watched)
    assert replayed(steps, voices, began) == batches


def test_interim_texts_come_every_second_one_at_a_time() -> None:
    ours = Interims()
    assert [ours.due(0.4), ours.due(1.0)] == [False, True]
    assert [ours.due(1.9), ours.due(2.0), ours.due(3.0)] == [False] * 3, "the first isn't there yet"
    ours.answered()
    assert [ours.due(3.5), ours.due(4.0)] == [False, True]


def test_a_simulated_stream_has_interim_texts_while_there_are_few() -> None:
    """Ten seconds without a pause: nine interim texts, of 1 to 9 s, and the segment; with too many streams, none."""
    spoken = SimulatedRecording(0.0, (Piece(10.0, 0.0, settled_s=10.0, stop_s=10.0),), spoken_s=10.0)
    machine = Machine(policy=POLICY, engines=1, threads=1, cores=4, interim_streams=1)

    def lengths(count: int) -> list[float]:
        found = simulate([spoken] * count, "realtime", machine, [lambda size, padded_s: BatchTime(0.01, 1.0)])
        return [batch.padded_s for batch in found.batches]

    assert lengths(1) == [*map(float, range(1, 10)), 10.0]
    assert lengths(2) == [10.0, 10.0]


def test_segments_of_one_stream_reach_the_engine_in_their_order() -> None:
    """The second's features take less time than the first's, but one thread computes both."""
    pieces = (Piece(3.0, 1.0, settled_s=1.0, stop_s=3.0), Piece(2.0, 0.1, settled_s=1.5, stop_s=5.0))
    found = simulate(
        [SimulatedRecording(0.0, pieces, spoken_s=2.0)],
        "realtime",
        Machine(policy=Batch(max_size=1, max_audio_s=60, max_wait_s=0), engines=1, threads=1, cores=4),
        [lambda size, padded_s: BatchTime(0.01, 1.0)],
    )
    assert [batch.padded_s for batch in found.batches] == [3.0, 2.0]
    assert found.latencies_s == pytest.approx((0.11,))
