"""The simulation against queueing theory, and the laws that hold in every queue."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.deployment import Batch
from autotune.recognizer.batching import OFFLINE
from autotune.simulation.replica import BatchTime, Machine, Piece, SimulatedRecording, Work
from autotune.simulation.simulate import Simulated, simulate

ALONE = Batch(max_size=1, max_audio_s=60, max_wait_s=0)
AUDIO_S = 4.0


def machine(**changes: object) -> Machine:
    plain: dict[str, object] = {"policy": ALONE, "engines": 1, "threads": 1, "cores": 64}
    return Machine(**{**plain, **changes})  # type: ignore[arg-type]


def fixed(seconds: float) -> Work:
    return lambda size, padded_s: BatchTime(seconds, 1.0)


def exponential(mean_s: float, seed: int) -> Work:
    generator = random.Random(seed)
    return lambda size, padded_s: BatchTime(generator.expovariate(1 / mean_s), 1.0)


def poisson(rate: float, count: int, seed: int) -> list[SimulatedRecording]:
    generator, now = random.Random(seed), 0.0
    found = []
    for _ in range(count):
        now += generator.expovariate(rate)
        found.append(SimulatedRecording(now, (Piece(AUDIO_S, 0.0),)))
    return found


def mean_wait_s(found: Simulated, service_s: float) -> float:
    return statistics.fmean(found.latencies_s) - service_s


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_one_engine_of_fixed_times_is_md1(load: float) -> None:
    found = simulate(poisson(load, 40_000, 1), "open", machine(), [fixed(1.0)])
    assert mean_wait_s(found, 1.0) == pytest.approx(load / (2 * (1 - load)), rel=0.08)


def erlang_c(engines: int, load: float) -> float:
    """Probability of waiting in M/M/k; ``load`` in engines."""
    terms = [load**number / math.factorial(number) for number in range(engines)]
    last = load**engines / math.factorial(engines) * engines / (engines - load)
    return last / (sum(terms) + last)


@pytest.mark.parametrize(("engines", "load"), [(1, 0.8), (3, 2.4), (8, 6.4)])
def test_engines_of_exponential_times_are_mmk(engines: int, load: float) -> None:
    found = simulate(poisson(load, 40_000, 2), "open", machine(engines=engines), [exponential(1.0, 3)])
    assert mean_wait_s(found, 1.0) == pytest.approx(erlang_c(engines, load) / (engines - load), rel=0.12)


def test_replicas_in_turn_wait_as_two_engines_of_fixed_times_do() -> None:
    """In M/D/k, whoever comes k later is served by the same engine: in turn is as good as one queue for all."""
    recordings = poisson(1.6, 20_000, 4)
    in_turn = simulate(recordings, "open", machine(), [fixed(1.0)] * 2, balance="round-robin")
    one_queue = simulate(recordings, "open", machine(engines=2), [fixed(1.0)])
    assert in_turn.latencies_s == pytest.approx(one_queue.latencies_s)


def test_the_replica_with_the_fewest_recordings_gets_what_arrives() -> None:
    """Of exponential times, two queues chosen so are better than two in turn, and worse than one queue for both."""
    recordings, work = poisson(1.6, 30_000, 4), [exponential(1.0, 5), exponential(1.0, 6)]
    least = simulate(recordings, "open", machine(), work)
    in_turn = simulate(recordings, "open", machine(), work, balance="round-robin")
    one_queue = simulate(recordings, "open", machine(engines=2), work[:1])
    assert mean_wait_s(one_queue, 1.0) < mean_wait_s(least, 1.0) < mean_wait_s(in_turn, 1.0)


def test_at_saturation_batches_are_full_and_throughput_is_theirs() -> None:
    policy = Batch(max_size=8, max_audio_s=1000, max_wait_s=0)
    found = simulate(
        poisson(100.0, 8_000, 5), "open", machine(policy=policy), [lambda size, _: BatchTime(0.1 + 0.05 * size, 1.0)]
    )
    assert 8_000 / found.ended_s == pytest.approx(8 / 0.5, rel=0.01)
    assert statistics.median(batch.size for batch in found.batches) == 8


traffics = st.lists(st.tuples(st.floats(0, 2), st.lists(st.floats(0.5, 30), max_size=4)), min_size=1, max_size=40)
machines = st.builds(
    Machine,
    policy=st.builds(
        Batch, max_size=st.integers(1, 5), max_audio_s=st.floats(5, 100), max_wait_s=st.sampled_from([0.0, 0.5])
    ),
    engines=st.integers(1, 3),
    threads=st.integers(1, 2),
    cores=st.integers(1, 4),
    limit_s=st.sampled_from([20.0, 100.0, math.inf]),
    readers=st.integers(1, 3),
)


def recordings_of(traffic: Sequence[tuple[float, Sequence[float]]], arrival: str) -> list[SimulatedRecording]:
    now = 0.0
    found = []
    for gap_s, lengths in traffic:
        now += gap_s
        starts = [sum(lengths[:place]) for place in range(len(lengths))]
        pieces = tuple(
            Piece(length, 0.01 * length, start, start + length) for length, start in zip(lengths, starts, strict=True)
        )
        spoken_s = sum(lengths) if arrival == "realtime" else None
        found.append(SimulatedRecording(OFFLINE if arrival in ("offline", "closed") else now, pieces, spoken_s))
    return found


@settings(deadline=None)
@given(traffics, machines, st.sampled_from(["offline", "closed", "open", "realtime"]))
def test_everything_that_arrives_is_recognised_once_and_time_is_conserved(
    traffic: list[tuple[float, list[float]]], ours: Machine, arrival: str
) -> None:
    recordings = recordings_of(traffic, arrival)
    found = simulate(recordings, arrival, ours, [lambda size, padded_s: BatchTime(0.02 * size * padded_s, 0.8)])  # type: ignore[arg-type]
    assert len(found.latencies_s) == len(recordings)
    assert all(latency_s >= 0 for latency_s in found.latencies_s)
    pieces = [piece for recording in recordings for piece in recording.pieces]
    assert sum(batch.size for batch in found.batches) == len(pieces)
    assert sum(batch.audio_s for batch in found.batches) == pytest.approx(sum(piece.audio_s for piece in pieces))
    for batch in found.batches:
        assert batch.ended_s - batch.began_s >= 0.02 * batch.size * batch.padded_s * (1 - 1e-9)
    if found.batches:
        assert 0 < found.busy_share(ours.engines) <= 1 + 1e-9
    # Work can't be done faster than the cores allow.
    worked_s = sum(0.02 * batch.size * batch.padded_s for batch in found.batches) * min(1, ours.cores)
    assert found.ended_s * max(ours.engines, 1) >= worked_s * (1 - 1e-9)


def test_littles_law() -> None:
    recordings = poisson(2.0, 20_000, 6)
    found = simulate(
        recordings,
        "open",
        machine(engines=2, policy=Batch(max_size=4, max_audio_s=60, max_wait_s=0.2)),
        [exponential(0.8, 7)],
    )
    ends = [recording.arrival_s + latency_s for recording, latency_s in zip(recordings, found.latencies_s, strict=True)]
    changes = sorted([(recording.arrival_s, 1) for recording in recordings] + [(end, -1) for end in ends])
    inside = area = last = 0.0
    for at_s, change in changes:
        area += inside * (at_s - last)
        inside, last = inside + change, at_s
    rate = len(recordings) / last
    assert area / last == pytest.approx(rate * statistics.fmean(found.latencies_s), rel=1e-6)


def test_latency_rises_with_load() -> None:
    means = [
        statistics.fmean(simulate(poisson(load, 20_000, 8), "open", machine(), [fixed(1.0)]).latencies_s)
        for load in (0.2, 0.5, 0.8, 0.95)
    ]
    assert means == sorted(means)


def test_readers_and_engines_share_the_cores() -> None:
    """One engine of one core and one reader, a second of each for every recording: side by side on two cores only."""
    recordings = [SimulatedRecording(OFFLINE, (Piece(AUDIO_S, 1.0),)) for _ in range(50)]
    two = simulate(recordings, "offline", machine(cores=2, limit_s=2 * AUDIO_S), [fixed(1.0)])
    one = simulate(recordings, "offline", machine(cores=1, limit_s=2 * AUDIO_S), [fixed(1.0)])
    assert two.ended_s == pytest.approx(51, abs=0.5)
    assert one.ended_s == pytest.approx(100, abs=0.5)


def test_engines_that_slow_each_other_down_do_so_only_while_both_run() -> None:
    def slow(size: int, padded_s: float) -> BatchTime:
        return BatchTime(1.0, 0.5)

    pair = [SimulatedRecording(OFFLINE, (Piece(AUDIO_S, 0.0),)) for _ in range(2)]
    assert simulate(pair, "offline", machine(engines=2, limit_s=AUDIO_S), [slow]).ended_s == pytest.approx(2.0)
    assert simulate(pair[:1], "offline", machine(engines=2), [slow]).ended_s == pytest.approx(1.0)


def test_a_streams_latency_counts_from_the_end_of_its_speech() -> None:
    pieces = (Piece(5.0, 0.0, 0.0, 5.5), Piece(3.0, 0.0, 5.0, 9.0))
    found = simulate([SimulatedRecording(1.0, pieces, spoken_s=9.0)], "realtime", machine(), [fixed(0.25)])
    assert found.latencies_s == pytest.approx((0.25,))
    early = simulate([SimulatedRecording(1.0, pieces, spoken_s=12.0)], "realtime", machine(), [fixed(0.25)])
    assert early.latencies_s == (0.0,), "its text was there before it ended"


def test_what_lies_between_client_and_recognizer_is_added() -> None:
    (recording,) = poisson(1.0, 1, 9)
    found = simulate([recording], "open", machine(), [fixed(1.0)], before_s=0.25)
    assert found.latencies_s == pytest.approx((1.25,))


@pytest.mark.parametrize("users", [1, 2, 5])
def test_users_who_ask_again_keep_so_many_under_way(users: int) -> None:
    """Of two engines of fixed times: one user keeps one busy, more keep both, and the others wait their turn."""
    recordings = [SimulatedRecording(0.0, (Piece(AUDIO_S, 0.0),))] * 60
    found = simulate(recordings, "open", machine(engines=2), [fixed(1.0)], users=users)
    assert found.ended_s == pytest.approx(60 / min(users, 2))
    assert statistics.median(found.latencies_s) == pytest.approx(max(1.0, users / 2), abs=0.5)


def test_open_streams_keep_cores_busy_while_nobody_speaks() -> None:
    """A stream that needs half of the only core while it is spoken leaves the other half to a batch that needs one."""
    busy = SimulatedRecording(0.0, (), spoken_s=4.0)
    speaking = SimulatedRecording(0.0, (Piece(1.0, 0.0, 0.0, 0.0),), spoken_s=0.0)
    ours = machine(cores=1, stream_cores=0.5)
    alone = simulate([speaking], "realtime", ours, [fixed(1.0)])
    beside = simulate([busy, speaking], "realtime", ours, [fixed(1.0)])
    assert alone.latencies_s == pytest.approx((1.0,))
    assert beside.latencies_s[1] == pytest.approx(2.0), "half of the core is the other stream's"
