from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotune.audio.dealing import arrival_times, deal_files, generator, stratified_durations
from autotune.audio.profile import ArrivalProcess, DurationDistribution
from autotune.audio.reading import AudioInfo


def infos(durations: list[float]) -> list[AudioInfo]:
    return [AudioInfo(Path(f"{index}.wav"), duration, 16_000, 1) for index, duration in enumerate(durations)]


durations_of_files = st.lists(st.floats(0.1, 1000), min_size=1, max_size=60)


@given(durations_of_files, st.integers(1, 8), st.integers(1, 20), st.integers(0, 1000))
def test_no_file_is_dealt_twice_and_shards_are_full(
    durations: list[float], shards: int, per_shard: int, seed: int
) -> None:
    dealt = deal_files(infos(durations), shards, per_shard, generator(seed, "deal"))
    paths = [info.path for shard in dealt for info in shard]
    assert len(paths) == len(set(paths))
    assert len(dealt) == max(1, min(shards, len(durations) // per_shard))
    assert {len(shard) for shard in dealt} == {min(per_shard, len(durations))}


@given(durations_of_files, st.integers(1, 8), st.integers(1, 20), st.integers(0, 1000))
def test_shards_are_of_like_composition(durations: list[float], shards: int, per_shard: int, seed: int) -> None:
    # The i-th file of every shard is from the i-th stratum: it is not longer than the next one of any shard.
    dealt = deal_files(infos(durations), shards, per_shard, generator(seed, "deal"))
    for position in range(len(dealt[0]) - 1):
        longest = max(shard[position].duration_s for shard in dealt)
        assert longest <= min(shard[position + 1].duration_s for shard in dealt)


def test_another_seed_takes_other_files() -> None:
    files = infos([1.0 + index for index in range(40)])
    first, second, again = (deal_files(files, 2, 4, generator(seed, "deal")) for seed in (1, 2, 1))
    assert first == again != second


@given(st.integers(1, 500), st.floats(1, 10), st.floats(0, 100))
def test_stratified_durations_are_the_middle_quantiles(count: int, low: float, span: float) -> None:
    drawn = DurationDistribution(distribution="uniform", low=low, high=low + span)
    durations = stratified_durations(drawn, count)
    assert len(durations) == count
    assert durations == sorted(durations)
    assert np.mean(durations) == pytest.approx(low + span / 2)


def test_poisson_arrivals_offer_the_load() -> None:
    arrival = ArrivalProcess(process="poisson", load=12.0)
    durations = [1.0, 3.0] * 2000
    times = arrival_times(arrival, durations, generator(3, "arrival"))
    assert times[0] == 0.0
    assert times == sorted(times)
    assert sum(durations) / times[-1] == pytest.approx(12.0, rel=0.06)
    gaps = np.diff(times)
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.1)  # exponential


def test_a_closed_loop_has_no_arrivals_and_one_recording_arrives_at_once() -> None:
    assert arrival_times(ArrivalProcess(process="closed"), [1.0, 2.0], generator(0, "arrival")) == [0.0, 0.0]
    assert arrival_times(ArrivalProcess(process="poisson", load=1.0), [5.0], generator(0, "arrival")) == [0.0]


@given(st.integers(1, 12), st.lists(st.floats(0.1, 100), min_size=1, max_size=40), st.integers(0, 1000))
def test_so_many_streams_are_spoken_at_once_and_none_rests(streams: int, durations: list[float], seed: int) -> None:
    begins = arrival_times(ArrivalProcess(process="realtime", streams=streams), durations, generator(seed, "arrival"))
    ends = [begin + duration for begin, duration in zip(begins, durations, strict=True)]
    assert begins[0] == 0.0
    assert begins == sorted(begins)
    for index, begin in enumerate(begins):
        spoken = [other for other in range(index) if ends[other] > begin]
        assert len(spoken) < streams
        # A stream either begins in the first seconds or takes over where another recording ended.
        assert begin <= 3.0 or begin in ends
