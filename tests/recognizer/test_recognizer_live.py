"""What a server asks of the recognizer: warm-up, segments as they settle, interim texts, and giving up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

import numpy as np
import pytest

from autotune.arrays import Float32
from autotune.deployment import Chunking
from autotune.recognizer import Recognizer, Segment, warmup_shapes
from autotune.recognizer.chunking import Piece
from autotune.recognizer.decoding import Decoded
from autotune.recognizer.request import Request
from tests.fake_engine import fake_deployment
from tests.recognizer.conftest import VAD

MakeRecognizer = Callable[..., Recognizer]
SLOW = {"speed": "10x", "fault": "none"}
ALONE = {"max_size": 1, "max_audio_s": 60.0, "max_wait_s": 0.0}


def test_warm_up_covers_single_and_full_batches_from_short_to_the_longest() -> None:
    batch = {"max_size": 8, "max_audio_s": 60.0, "max_wait_s": 0.0}
    chunking = Chunking(method="fixed", window_s=15, overlap_s=0).model_dump()
    shapes = warmup_shapes(fake_deployment(batch=batch, chunking=chunking))
    assert {seconds for _, seconds in shapes} == {1.0, 2.0, 5.0, 10.0, 15.0}
    assert {size for size, seconds in shapes if seconds == 1.0} == {1, 8}
    assert {size for size, seconds in shapes if seconds == 15.0} == {1, 4}, "as many as max_audio_s lets in"


def test_warm_up_runs_every_instance_in_every_shape(fake_recognizer: MakeRecognizer) -> None:
    with fake_recognizer(instances=2) as ours:
        shapes = warmup_shapes(ours.deployment)
        ours.warm_up(shapes)
        found = ours.stats().shapes
        assert (found.new, found.repeated) == (len(shapes), len(shapes))
        assert ours.queue().segments == 0


def test_segments_are_told_in_order_as_they_settle(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    told: list[Segment] = []
    with fake_recognizer(chunking=VAD.model_dump()) as ours:
        stream = ours.stream(told.append)
        for start in range(0, len(speech), 1600):
            stream.feed(speech[start : start + 1600])
        transcript = stream.finish().result()
    assert len(told) > 2
    assert tuple(told) == transcript.segments


def test_interim_texts_are_of_what_is_not_settled(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    with fake_recognizer(chunking=Chunking(method="fixed", window_s=30, overlap_s=0).model_dump()) as ours:
        stream = ours.stream()
        assert stream.interim().result() == ""
        stream.feed(speech[: 5 * 16000])
        assert stream.interim().result(30) == ours.transcribe([speech[: 5 * 16000]])[0].text
        stream.feed(speech[5 * 16000 : 20 * 16000])
        last = ours.transcribe([speech[5 * 16000 : 20 * 16000]])[0].text
        assert stream.interim().result(30) == last, "its last 15 s"
        stream.abandon()


def test_what_is_abandoned_leaves_the_queue(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    chunking = Chunking(method="fixed", window_s=4, overlap_s=0).model_dump()
    with fake_recognizer(session_options=SLOW, batch=ALONE, chunking=chunking) as ours:
        request = ours.request()
        reading = threading.Thread(target=request.read, args=(np.tile(speech, 20),), daemon=True)
        reading.start()
        while ours.queue().segments < 3:
            pass
        request.abandon()
        reading.join(30)
        assert not reading.is_alive()
        assert ours.queue().segments == 0
        with pytest.raises(CancelledError):
            request.future.result(30)
        assert ours.transcribe([speech[:16000]])[0].audio_s == 1.0, "others are served"


def test_a_stream_that_is_abandoned_is_cancelled(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    with fake_recognizer(session_options=SLOW, batch=ALONE, chunking=VAD.model_dump()) as ours:
        stream = ours.stream()
        stream.feed(speech)
        future = stream.finish()
        stream.abandon()
        with pytest.raises(CancelledError):
            future.result(30)


def test_the_transcript_is_given_only_after_its_last_segment_is_told(speech: Float32) -> None:
    telling, go_on = threading.Event(), threading.Event()

    def slow_to_hear(_: Segment) -> None:
        telling.set()
        assert go_on.wait(30)

    request = Request(0.0, on_segment=slow_to_hear)
    piece = Piece(0, speech[:16000])
    job = request.add(piece, piece.samples)
    recognising = threading.Thread(target=job.done, args=(job.position, Decoded("好")), daemon=True)
    recognising.start()
    assert telling.wait(30)
    request.seal(16000)
    assert not request.future.done(), "the server forgets a stream that is done: its last text would be lost"
    go_on.set()
    assert request.future.result(30).text == "好"


def test_idle_instances_share_a_recording(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    """Two engines halve four segments that come together; neither takes all while the other has nothing to do."""
    chunking = Chunking(method="fixed", window_s=4, overlap_s=0).model_dump()
    batch = {"max_size": 4, "max_audio_s": 60.0, "max_wait_s": 0.0}
    with fake_recognizer(session_options=SLOW, batch=batch, chunking=chunking, instances=2) as ours:
        transcript = ours.submit(speech[: 16 * 16000]).result(30)
        assert len(transcript.segments) == 4
        assert sorted(one.size for one in ours.take_batches()) == [2, 2]


def test_a_stream_says_what_no_later_text_depends_on(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    with fake_recognizer(chunking=VAD.model_dump()) as ours:
        settled: list[Segment] = []
        stream = ours.stream(settled.append)
        silence = np.zeros(16000, np.float32)
        for _ in range(60):
            stream.feed(silence)
        assert 57 < stream.settled_s <= 60, "nothing of a muted microphone is needed"
        stream.feed(speech[: 3 * 16000])
        while_spoken = stream.settled_s
        assert while_spoken < 62
        for second in range(3, 30):
            stream.feed(speech[second * 16000 : (second + 1) * 16000])
        text = stream.finish().result(30)
        assert stream.settled_s >= settled[-1].end_s - 15
        assert [one.text for one in settled] == [one.text for one in text.segments]


def test_audio_is_needed_until_its_text_is_told(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    chunking = Chunking(method="fixed", window_s=4, overlap_s=0).model_dump()
    with fake_recognizer(session_options=SLOW, batch=ALONE, chunking=chunking) as ours:
        stream = ours.stream(lambda _: None)
        stream.feed(speech[: 20 * 16000])
        assert stream.settled_s == 0.0, "windows were cut, and none was recognised"
        stream.abandon()


def test_what_runs_is_told_by_its_owner(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    told: list[list[object]] = []
    with fake_recognizer(batch=ALONE) as ours:
        ours.tell_running(told.append)
        request = ours.request()
        request.read(speech)
        request.future.result(30)
    assert told == [[request.owner], []]


def test_a_stream_that_is_too_far_ahead_waits(fake_recognizer: MakeRecognizer, speech: Float32) -> None:
    chunking = Chunking(method="fixed", window_s=4, overlap_s=0).model_dump()
    with fake_recognizer(session_options=SLOW, batch=ALONE, chunking=chunking) as ours:
        stream = ours.stream(ahead_s=8.0)
        most = 0.0
        for start in range(0, 60 * 16000, 16000):
            stream.feed(speech[start : start + 16000])
            most = max(most, ours.queue().audio_s)
        assert most <= 8.0
        stream.abandon()
