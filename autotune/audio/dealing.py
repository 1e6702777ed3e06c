"""Cutting recordings into shards of equal composition, and when each arrives: pure functions of a seed."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from autotune.audio.profile import ArrivalProcess, DurationDistribution
from autotune.audio.reading import AudioInfo

__all__ = ["arrival_times", "deal_files", "generator", "stratified_durations"]

STREAMS_BEGIN_WITHIN_S = 3.0
"""Seconds within which a shard's streams begin; beginning at one moment, their windows would all end together."""


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """An independent random stream: shard 0 is the same however many shards are built."""
    return np.random.default_rng([seed, int.from_bytes(purpose.encode(), "little"), *indices])


def stratified_durations(distribution: DurationDistribution, count: int) -> list[float]:
    """The (i + 0.5) / count quantiles in seconds, ascending: the same in every shard."""
    return [distribution.quantile((index + 0.5) / count) for index in range(count)]


def arrival_times(arrival: ArrivalProcess, durations_s: Sequence[float], rng: np.random.Generator) -> list[float]:
    """Seconds after the shard's start, ascending, the first 0.0; one for each recording, in their order.

    Offline and closed loop: all 0.0. Poisson: exponential gaps of mean ``mean(durations) / load``, so that ``load``
    seconds of audio are offered each second. Real time: when each begins to be spoken; ``streams`` begin within the
    first 3 s, and the next one begins when one of them has been spoken to its end.
    """
    if arrival.streams is not None:
        return _begins(min(arrival.streams, len(durations_s)), durations_s, rng)
    if arrival.load is None:
        return [0.0] * len(durations_s)
    gaps = rng.exponential(float(np.mean(durations_s)) / arrival.load, len(durations_s) - 1)
    return [0.0, *(float(value) for value in np.cumsum(gaps))]


def _begins(streams: int, durations_s: Sequence[float], rng: np.random.Generator) -> list[float]:
    free = [0.0, *(float(value) for value in rng.uniform(0, STREAMS_BEGIN_WITHIN_S, streams - 1))]
    heapq.heapify(free)
    begins = []
    for duration_s in durations_s:
        begins.append(heapq.heappop(free))
        heapq.heappush(free, begins[-1] + duration_s)
    return begins


def deal_files(
    files: Sequence[AudioInfo], shards: int, per_shard: int, rng: np.random.Generator
) -> list[list[AudioInfo]]:
    """Deal files into shards of like durations; no file is in two places.

    Files sorted by duration are cut into ``per_shard`` strata, and each shard gets one file of each. There are fewer
    shards when the files don't suffice, and one shard with all the files when there are fewer than ``per_shard``.
    """
    per_shard = min(per_shard, len(files))
    shards = min(shards, len(files) // per_shard)
    ordered = sorted(files, key=lambda info: (info.duration_s, str(info.path)))
    strata = np.array_split(np.arange(len(ordered)), per_shard)
    dealt: list[list[AudioInfo]] = [[] for _ in range(shards)]
    for stratum in strata:
        for shard, index in zip(dealt, rng.permutation(stratum), strict=False):
            shard.append(ordered[index])
    return dealt
