"""Cutting recordings into shards of equal composition, and when each arrives: pure functions of a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autotune.audio.profile import Arrival, DurationDistribution
from autotune.audio.reading import AudioInfo

__all__ = ["arrival_times", "deal_files", "generator", "stratified_durations"]


def generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """An independent random stream: shard 0 is the same however many shards are built."""
    return np.random.default_rng([seed, int.from_bytes(purpose.encode(), "little"), *indices])


def stratified_durations(distribution: DurationDistribution, count: int) -> list[float]:
    """The (i + 0.5) / count quantiles in seconds, ascending: the same in every shard."""
    return [distribution.quantile((index + 0.5) / count) for index in range(count)]


def arrival_times(arrival: Arrival, durations_s: Sequence[float], rng: np.random.Generator) -> list[float]:
    """Seconds after the shard's start, ascending, the first 0.0.

    Poisson: exponential gaps of mean ``mean(durations) / load``, so that ``load`` seconds of audio are offered each
    second. Closed loop: all 0.0.
    """
    if arrival.load is None:
        return [0.0] * len(durations_s)
    gaps = rng.exponential(float(np.mean(durations_s)) / arrival.load, len(durations_s) - 1)
    return [0.0, *(float(value) for value in np.cumsum(gaps))]


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
