"""The state machine that threads and simulations share: what a real run decided, it decides again without threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from autotune.arrays import Float32
from autotune.deployment import Batch
from autotune.recognizer import Recognizer, dispatcher
from autotune.recognizer.batching import OFFLINE, Wait
from autotune.recognizer.dispatcher import SegmentJob
from autotune.recognizer.scheduling import Lots, RunningBatch, Scheduler
from tests.recognizer.conftest import VAD

MakeRecognizer = Callable[..., Recognizer]


@dataclass(frozen=True)
class Segment:
    audio_s: float
    owner: object = "anyone"
    arrival_s: float = OFFLINE
    before_s: float = 0.0
    together: bool = False


@dataclass
class Event:
    """A call of the scheduler and what it gave."""

    name: str
    arguments: tuple[Any, ...]
    given: Any


class Recorded(Scheduler[SegmentJob]):
    """Writes down what threads tell it and what it decides; called under the dispatcher's lock."""

    runs: list[Recorded] = []  # noqa: RUF012 - emptied by each test

    def __init__(self, policy: Batch, engines: int) -> None:
        super().__init__(policy, engines)
        self.policy, self.engines = policy, engines
        self.events: list[Event] = []
        self.runs.append(self)

    def put(self, segments: Iterable[SegmentJob]) -> None:
        segments = list(segments)
        self.events.append(Event("put", (segments,), None))
        super().put(segments)

    def withdraw(self, owner: object) -> None:
        self.events.append(Event("withdraw", (owner,), None))
        super().withdraw(owner)

    def next(self, engine: int, now_s: float) -> list[SegmentJob] | Wait | None:
        given = super().next(engine, now_s)
        self.events.append(Event("next", (engine, now_s), given))
        return given

    def finished(self, engine: int) -> float:
        given = super().finished(engine)
        self.events.append(Event("finished", (engine,), given))
        return given


@pytest.fixture
def recorded(fake_recognizer: MakeRecognizer, monkeypatch: pytest.MonkeyPatch) -> MakeRecognizer:
    Recorded.runs.clear()
    monkeypatch.setattr(dispatcher, "Scheduler", Recorded)
    batch = {"max_size": 3, "max_audio_s": 30.0, "max_wait_s": 0.05}

    def make(**changes: object) -> Recognizer:
        options = {"speed": "100x", "fault": "none"}
        return fake_recognizer(
            **{"session_options": options, "batch": batch, "chunking": VAD.model_dump(), "instances": 2} | changes
        )

    return make


def batches_again() -> list[list[SegmentJob]]:
    """The batches of the recorded run, checked against those of a scheduler that is told the same."""
    (run,) = Recorded.runs
    again: Scheduler[SegmentJob] = Scheduler(run.policy, run.engines)
    batches = []
    for event in run.events:
        given = getattr(again, event.name)(*event.arguments)
        if event.name == "next" and isinstance(event.given, list):
            assert [id(job) for job in given] == [id(job) for job in event.given]
            batches.append(given)
        else:
            assert given == event.given
    return batches


def offline(ours: Recognizer, speech: Float32) -> int:
    recordings = [np.roll(speech, 16000 * shift) for shift in range(6)]
    return sum(len(transcript.segments) for transcript in ours.transcribe(recordings))


def open_loop(ours: Recognizer, speech: Float32) -> int:
    random = np.random.default_rng(3)
    futures = []
    for _ in range(30):
        start, length = random.integers(0, len(speech) // 2), random.integers(16000, 160000)
        futures.append(ours.submit(speech[start : start + length]))
        threading.Event().wait(float(random.exponential(0.02)))
    return sum(len(future.result(30).segments) for future in futures)


def streams(ours: Recognizer, speech: Float32) -> int:
    counts = []

    def speak(shift: int) -> None:
        stream = ours.stream()
        for start in range(0, len(speech), 8000):
            stream.feed(np.roll(speech, shift)[start : start + 8000])
            threading.Event().wait(0.005)
        counts.append(len(stream.finish().result(30).segments))

    speakers = [threading.Thread(target=speak, args=(8000 * number,)) for number in range(4)]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join(60)
    return sum(counts)


@pytest.mark.parametrize("run", [offline, open_loop, streams])
def test_a_recorded_run_replayed_gives_the_same_batches(
    run: Callable[[Recognizer, Float32], int], recorded: MakeRecognizer, speech: Float32
) -> None:
    with recorded(readers=2 if run is offline else 1) as ours:
        segments = run(ours, speech)
    batches = batches_again()
    assert sum(map(len, batches)) == segments > 20
    # How fast streams are fed is the machine's: see tests/simulation/test_simulation_streams.py.
    assert run is streams or max(map(len, batches)) > 1
    assert {event.arguments[0] for event in Recorded.runs[0].events if event.name == "finished"} == {0, 1}


def test_an_abandoned_recording_replayed_leaves_the_queue_again(recorded: MakeRecognizer, speech: Float32) -> None:
    with recorded(session_options={"speed": "10x", "fault": "none"}) as ours:
        stream = ours.stream()
        stream.feed(speech)
        stream.abandon()
        ours.transcribe([speech[:80000]])
    assert any(event.name == "withdraw" for event in Recorded.runs[0].events)
    assert batches_again()


def policy(**changes: float) -> Batch:
    return Batch.model_validate({"max_size": 4, "max_audio_s": 60, "max_wait_s": 0.0} | changes)


def taken(scheduler: Scheduler[Segment], engine: int = 0, now_s: float = 0.0) -> list[float]:
    given = scheduler.next(engine, now_s)
    assert isinstance(given, list)
    return [segment.audio_s for segment in given]


def test_running_engines_take_no_part_in_sharing_what_waits() -> None:
    scheduler: Scheduler[Segment] = Scheduler(policy(), 2)
    scheduler.put(Segment(float(seconds)) for seconds in range(1, 9))
    assert taken(scheduler, 0) == [8, 7, 6, 5]
    assert taken(scheduler, 1) == [4, 3, 2, 1], "the other one runs"
    assert scheduler.next(0, 0.0) is None
    assert scheduler.finished(0) == 0.0
    scheduler.put([Segment(1.0), Segment(2.0)])
    scheduler.finished(1)
    assert taken(scheduler, 1, 5.0) == [2], "both are idle: each takes half"
    assert scheduler.facts(7.0).running == (RunningBatch(5.0, 2.0),)


def test_room_is_given_by_owner() -> None:
    scheduler: Scheduler[Segment] = Scheduler(policy(), 1)
    assert scheduler.has_room("a", 100.0, 10.0), "nothing of it waits"
    scheduler.put([Segment(8.0, "a"), Segment(9.0, "b")])
    assert scheduler.has_room("a", 2.0, 10.0)
    assert not scheduler.has_room("a", 2.1, 10.0)
    assert scheduler.has_room("c", 9.0, 10.0)
    scheduler.withdraw("a")
    assert scheduler.has_room("a", 100.0, 10.0)
    assert [segment.owner for segment in scheduler.drain()] == ["b"]
    assert scheduler.next(0, 0.0) is None
    scheduler.withdraw("nobody")


def test_all_of_an_owner_that_waits_together_is_one_batch() -> None:
    scheduler: Scheduler[Segment] = Scheduler(policy(max_size=1), 1)
    scheduler.put([Segment(3.0, "list", together=True), Segment(1.0), Segment(5.0, "list", together=True)])
    assert taken(scheduler) == [3, 5]
    scheduler.finished(0)
    assert taken(scheduler) == [1]


def test_what_waits_has_facts() -> None:
    scheduler: Scheduler[Segment] = Scheduler(policy(max_wait_s=5.0), 1)
    scheduler.put([Segment(3.0), Segment(4.0, arrival_s=2.0), Segment(1.0, arrival_s=3.0)])
    facts = scheduler.facts(7.0)
    assert (facts.segments, facts.audio_s, facts.oldest_s, facts.running) == (3, 8.0, 5.0, ())
    spoken: Scheduler[Segment] = Scheduler(policy(max_wait_s=5.0), 1)
    spoken.put([Segment(4.0, arrival_s=2.0)])
    assert spoken.next(0, 3.0) == Wait(7.0)
    assert spoken.next(0, 7.0) == [Segment(4.0, arrival_s=2.0)]


def lots(lot_s: float, lengths: Sequence[float]) -> list[list[float]]:
    ours: Lots[Segment] = Lots(lot_s)
    found = [ours.add(Segment(length)) for length in lengths] + [ours.rest()]
    return [[segment.audio_s for segment in lot] for lot in found if lot]


def test_the_first_lot_is_half_as_large_as_the_others() -> None:
    assert lots(10, [2, 2, 2, 2, 2, 2, 2, 2, 2]) == [[2, 2, 2], [2, 2, 2, 2, 2], [2]]
    assert lots(10, [50, 50, 1]) == [[50], [50], [1]]
    assert lots(float("inf"), [50, 50]) == [[50, 50]]
    assert lots(10, []) == []
