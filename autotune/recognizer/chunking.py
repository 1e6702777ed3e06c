"""Cutting a recording into segments: every sample in exactly one segment, in order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from autotune.deployment import Chunking

__all__ = ["Span", "cut"]


@dataclass(frozen=True)
class Span:
    """Samples start..stop (exclusive) of a recording."""

    start: int
    stop: int


def cut(samples: int, sample_rate_hz: int, chunking: Chunking) -> list[Span]:
    """Spans of a recording of ``samples`` samples, without gap or overlap.

    ``none`` and ``vad`` (which is cut inside FunASR's own path) give one span. ``fixed`` cuts into equal windows of
    at most ``window_s``: two windows of 8 s, not one of 15 s and one of 1 s, since a sliver costs a batch of its own
    shape and recognises badly.
    """
    if samples == 0:
        return []
    if chunking.method != "fixed" or chunking.window_s is None:
        return [Span(0, samples)]
    window = max(1, round(chunking.window_s * sample_rate_hz))
    count = -(-samples // window)
    edges = [samples * index // count for index in range(count + 1)]
    return [Span(start, stop) for start, stop in itertools.pairwise(edges)]
