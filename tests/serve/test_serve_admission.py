"""What is taken in, and what follows from the measured deployment."""

import math

import pytest

from autotune.recognizer.admission import Admission, Limits, Rejected
from autotune.recognizer.streaming import interim_streams
from autotune.serve.limits import absent_s, answer_s, hang_s, limits_of
from autotune.serve.options import ServeOptions
from tests.deployment_example import example_deployment, example_file

LIMITS = Limits(queue_s=100, requests=3, streams=2, duration_s=1000, body_bytes=1 << 20)


def reason(admission: Admission, audio_s: float) -> str:
    try:
        with admission.recording(audio_s):
            return "taken"
    except Rejected as rejected:
        return rejected.reason


def test_audio_is_taken_until_the_queue_is_full() -> None:
    admission = Admission(LIMITS, rtfx=10)
    with admission.recording(60):
        assert reason(admission, 40) == "taken"
        assert reason(admission, 41) == "queue_full"
    assert admission.queued_s == 0
    assert reason(admission, 41) == "taken"


def test_one_recording_longer_than_the_queue_is_taken_alone() -> None:
    admission = Admission(LIMITS, rtfx=10)
    assert reason(admission, 900) == "taken"
    with admission.recording(1):
        assert reason(admission, 900) == "queue_full"
    assert reason(admission, 1001) == "too_long"


def test_a_full_server_says_when_to_come_back() -> None:
    admission = Admission(LIMITS, rtfx=10)
    with admission.recording(95), pytest.raises(Rejected) as caught, admission.recording(10):
        pass
    assert (caught.value.status, caught.value.retry_after_s) == (429, 10)
    with pytest.raises(Rejected) as caught, admission.recording(5000):
        pass
    assert (caught.value.status, caught.value.retry_after_s) == (413, None)


def test_requests_and_streams_are_counted() -> None:
    admission = Admission(LIMITS, rtfx=10)
    with admission.recording(1), admission.recording(1), admission.recording(1):
        assert reason(admission, 1) == "too_many_requests"
        with admission.stream(), admission.stream():
            assert admission.inside == 5
            with pytest.raises(Rejected, match="2 streams"), admission.stream():
                pass
    assert admission.inside == 0


def test_a_server_that_stops_takes_nothing_in() -> None:
    admission = Admission(LIMITS, rtfx=10)
    admission.draining = True
    assert reason(admission, 1) == "draining"
    with pytest.raises(Rejected) as caught, admission.stream():
        pass
    assert caught.value.status == 503


def test_limits_follow_from_what_was_measured_unless_they_are_given() -> None:
    document = example_file()
    rtfx = document.measurement.rtfx.median
    found = limits_of(ServeOptions(), document)
    assert found.queue_s == max(600, 30 * rtfx)
    assert found.streams == max(1, int(0.5 * rtfx))
    assert limits_of(ServeOptions(max_queue_s=5, max_streams=1), document).queue_s == 5
    assert interim_streams(rtfx) == int(0.5 * rtfx / 6) < found.streams


def test_a_batch_hangs_after_many_times_what_it_takes() -> None:
    document = example_file()
    assert hang_s(document) >= 60
    slow = example_deployment(batch={"max_size": 64, "max_audio_s": 7200.0, "max_wait_s": 0.0})
    assert hang_s(example_file(deployment=slow)) > hang_s(document)


def test_a_batch_hangs_by_its_own_audio() -> None:
    document = example_file()
    hour = hang_s(document, 3600.0)
    assert hour == math.ceil(20 * 3600 * document.deployment.instances / document.measurement.rtfx.median)
    assert answer_s(document, 3600.0) > hour
    assert absent_s(document) == max(60, 10 * document.measurement.load_s)


def test_what_was_begun_is_finished_while_the_server_stops() -> None:
    admission = Admission(LIMITS, rtfx=10)
    with admission.place():
        admission.draining = True
        with admission.audio(5), pytest.raises(Rejected), admission.place():
            pass
        assert admission.queued_s == 0
        with pytest.raises(Rejected, match="at most 1000 s"), admission.audio(1001):
            pass
    assert admission.inside == 0
