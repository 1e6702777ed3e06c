"""Servers under load on virtual time: known capacities, the server's own thread, streams, limits."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

import pytest

from autotune.audio.arrivals import Due
from autotune.deployment import Batch
from autotune.recognizer.admission import Limits
from autotune.simulation.cores import Cores, Task
from autotune.simulation.server import Servers, highest_load
from autotune.simulation.service_times import CutRecording, ReadingTimes, ServerTimes, ServicePoint, ServiceTimes
from tests.deployment_example import example_deployment

SECONDS = 0.05
"""What every recording takes."""
BUSY = 1e-9
"""Next to nothing."""


def times(seconds: float = SECONDS, **changes: Any) -> ServiceTimes:
    cut = tuple(CutRecording(audio_s=2.0 + place, pieces=((0.0, 2.0 + place, 2.0 + place),)) for place in range(3))
    points = tuple(
        ServicePoint(size=1, padded_s=length, busy=1, seconds=seconds, count=5) for length in (1.0, 2.0, 3.0, 4.0)
    )
    plain: dict[str, Any] = {
        "engines": 1,
        "points": points,
        "spread": (1.0,),
        "reading": ReadingTimes(read=BUSY, chunk=BUSY, features=BUSY),
        "recordings": cut,
        "spoken": cut,
    }
    return ServiceTimes(**{**plain, **changes})


def servers(seconds: float = SECONDS, **changes: Any) -> Servers:
    batch = Batch(max_size=1, max_audio_s=60.0, max_wait_s=0.0)
    plain = example_deployment(instances=1, batch=batch)
    fields: dict[str, Any] = {"deployment": plain, "times": times(seconds), "cores": 8}
    return Servers(**{**fields, **changes})


def p95_within(one: Servers, seconds: float) -> float:
    def kept(load: float) -> bool:
        return one.offered("requests/s", load, requests=6_000).latency_s(0.95) <= seconds

    found = highest_load(kept, 14.0, step=1.1)
    assert found is not None
    return found


def test_the_capacity_of_one_engine_of_fixed_times_is_that_of_md1() -> None:
    """M/D/1 with 0.05 s and 5 % above 0.3 s: 14.95 requests a second (docs/load.md)."""
    assert p95_within(servers(), 0.3) == pytest.approx(14.95, rel=0.05)


def test_twice_as_slow_with_twice_the_time_carries_half() -> None:
    assert p95_within(servers(slower=2.0), 0.6) == pytest.approx(p95_within(servers(), 0.3) / 2, rel=0.02)


def test_several_carry_more_than_as_many_times_one() -> None:
    """They share the luck of arrivals, where the balancer knows who is busy."""
    one, four = p95_within(servers(), 0.3), p95_within(servers(replicas=4), 0.3)
    assert 4 * one < four < 4 / SECONDS


def test_alone_a_recording_takes_its_parts_and_what_the_server_adds() -> None:
    adds = ServerTimes(front_s=0.01, front_audio_s=0.001, worker_s=0.002, wait_s=0.003, stream_cores=0.1)
    alone = servers(times=times(server=adds)).alone("requests/s")
    assert alone == pytest.approx([SECONDS + 0.015 + 0.001 * audio_s for audio_s in (2.0, 3.0, 4.0)], abs=1e-6)


def test_the_server_s_own_thread_receives_one_after_the_other() -> None:
    """With engines that cost nothing it is an M/D/1 queue of its own."""
    adds = ServerTimes(front_s=SECONDS, front_audio_s=0.0, worker_s=0.0, wait_s=0.0, stream_cores=0.1)
    found = p95_within(servers(times=times(BUSY, server=adds)), 0.3)
    assert found == pytest.approx(14.95, rel=0.05)


def test_a_client_on_the_same_machine_takes_cores_away() -> None:
    one = servers(cores=1)
    assert p95_within(replace(one, client_s=0.02), 0.3) < 0.8 * p95_within(one, 0.3)


def test_streams_are_late_by_their_last_segment_and_more_of_them_by_more() -> None:
    one = servers()
    assert one.alone("streams") == pytest.approx([SECONDS] * 3, abs=1e-6)
    p95 = [one.offered("streams", load, requests=2_000).latency_s(0.95) for load in (10, 30, 50)]
    assert p95 == sorted(p95)
    # Each needs 0.05 s of the engine in 3 s of speech.
    assert p95[0] < 0.3
    assert one.offered("streams", 70, requests=2_000).latency_s(0.95) > 1.0, "more than one engine can do"


def test_open_streams_keep_cores_busy_while_they_are_spoken() -> None:
    adds = ServerTimes(front_s=0.0, front_audio_s=0.0, worker_s=0.0, wait_s=0.0, stream_cores=0.02)
    light = servers(cores=1).offered("streams", 40, requests=2_000).latency_s(0.95)
    heavy = servers(times=times(server=adds), cores=1).offered("streams", 40, requests=2_000).latency_s(0.95)
    assert heavy > 1.5 * light


def test_what_is_turned_away_is_infinitely_late_and_everything_else_is_answered() -> None:
    limits = Limits(queue_s=6.0, requests=2, streams=3, duration_s=1000.0, body_bytes=1)
    outcome = servers(limits=limits).offered("requests/s", 60.0, requests=3_000)
    lost = sum(latency_s == math.inf for latency_s in outcome.whole.latencies_s)
    assert 0.5 < lost / len(outcome.whole.latencies_s) < 0.8, "two thirds are more than the engine can do"
    assert sum(batch.size for batch in outcome.whole.batches) == len(outcome.whole.latencies_s) - lost
    streams = servers(limits=limits).offered("streams", 6, requests=600)
    assert sum(latency_s == math.inf for latency_s in streams.whole.latencies_s) > 100


def test_given_arrivals_come_when_they_are_due() -> None:
    dues = [Due(0.0, 0), Due(0.0, 1), Due(10.0, 2)]
    outcome = servers().offered("requests/s", 1.0, dues=dues)
    assert outcome.whole.latencies_s == pytest.approx((SECONDS, 2 * SECONDS, SECONDS), abs=1e-6)


@pytest.mark.parametrize("true", [0.03, 1.0, 7.7, 900.0])
@pytest.mark.parametrize("start", [0.5, 8.0, 100.0])
def test_the_search_finds_where_a_promise_breaks(true: float, start: float) -> None:
    found = highest_load(lambda load: load <= true, start)
    assert found is not None
    assert found == pytest.approx(true, rel=0.011)
    assert found <= true


def test_whole_loads_are_found_exactly_and_none_is_none() -> None:
    assert highest_load(lambda load: load <= 37, 5.0, whole=True) == 37
    assert highest_load(lambda load: False, 5.0, whole=True) is None
    assert highest_load(lambda load: False, 5.0) is None


def test_reading_and_engines_cost_each_other_what_was_measured() -> None:
    """On one core, half of it each; and while both run, batches at 0.8 and reading at 0.5 of that."""
    cores = Cores(1, 1, beside=(0.8, 0.5))
    engine, reading = Task(1.0, 1, 1.0), Task(0.25, 1)
    cores.begin(engine)
    cores.begin(reading)
    assert cores.next_end_s() == pytest.approx(1.0), "a quarter of a second at a quarter of the speed"
    assert cores.advance(1.0) == [reading]
    assert cores.next_end_s() == pytest.approx(1.6), "0.4 of it has run beside the reading"


def spoken_for(minutes: int) -> ServiceTimes:
    """A recording that says something for three seconds of every four."""
    pieces = tuple((4.0 * turn, 3.0, 4.0 * turn + 3.5) for turn in range(15 * minutes))
    return times(spoken=(CutRecording(audio_s=60.0 * minutes, pieces=pieces),))


def test_a_stream_asks_for_as_much_however_long_it_lasts() -> None:
    minute, hour = (servers(times=spoken_for(minutes)) for minutes in (1, 60))
    found = [one.offered("streams", 60, requests=300) for one in (minute, hour)]
    assert found[0].latency_s(0.95) == pytest.approx(found[1].latency_s(0.95), rel=0.25)
    assert len(found[1].whole.batches) < 2 * len(found[0].whole.batches), "not sixty times as many"
    assert hour.mean_s("streams") == 3600, "what is told of recordings is told of the whole"


def test_streams_whose_speech_detection_takes_all_cores_need_no_simulation() -> None:
    busy = servers(
        times=times(server=ServerTimes(front_s=0.0, front_audio_s=0.0, worker_s=0.0, wait_s=0.0, stream_cores=0.1)),
        replicas=2,
    )
    assert not busy.starves("streams", 159)
    assert busy.starves("streams", 160), "eight cores each"
    assert not busy.starves("requests/s", 1e6)


def test_few_streams_have_interim_results_that_their_texts_wait_for_and_many_have_none() -> None:
    plain, giving = servers(), servers(interim_streams=8)
    few, many = (
        [statistics.fmean(one.offered("streams", load, requests=500).latencies_s) for one in (plain, giving)]
        for load in (8, 9)
    )
    assert few[1] > 1.1 * few[0]
    assert many[1] == many[0]
