"""Warm-up: passes over the warm-up recordings until they take a steady time."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.audio.recording import Recording
from autotune.measure.pacing import Arrival, Transcriber, spoken_at_once

__all__ = ["WarmUp", "is_steady", "warm_up"]

STEADY_WITHIN = 0.10
"""Two passes agree when they differ by no more than this share of the longer (perf_analyzer's stability rule)."""
MAX_PASSES = 4
MAX_S = 20.0


@dataclass(frozen=True)
class WarmUp:
    """How the warm-up went."""

    passes_s: tuple[float, ...]
    """Wall seconds of each pass."""

    @property
    def steady(self) -> bool:
        """The last two passes agreed."""
        return is_steady(self.passes_s)


def warm_up(
    recognizer: Transcriber,
    recordings: Sequence[Recording],
    arrival: Arrival,
    *,
    now: Callable[[], float] = time.perf_counter,
) -> WarmUp:
    """Pass over ``recordings`` until the last two passes agree within 10 %, at most 4 passes or 20 s, at least once.

    In an open loop all recordings of a pass are submitted at once, so that batches form as they will later; in real
    time they go through streams, one behind the other without a pause.
    """
    if not recordings:
        raise ValueError("a workload must have at least one warm-up recording, but it has none")
    paths = [Path(recording.path) for recording in recordings]
    passes: list[float] = []
    while not passes or not (is_steady(passes) or len(passes) == MAX_PASSES or sum(passes) >= MAX_S):
        started = now()
        _pass(recognizer, paths, arrival)
        passes.append(now() - started)
    return WarmUp(tuple(passes))


def _pass(recognizer: Transcriber, paths: Sequence[Path], arrival: Arrival) -> None:
    if arrival == "closed":
        for path in paths:
            recognizer.transcribe([path])
        return
    send = recognizer.submit if arrival == "open" else functools.partial(spoken_at_once, recognizer)
    for future in [send(path) for path in paths]:
        future.result()


def is_steady(passes_s: Sequence[float]) -> bool:
    """Whether the last two of at least two passes agree."""
    if len(passes_s) < 2:
        return False
    before, last = passes_s[-2:]
    return abs(last - before) <= STEADY_WITHIN * max(last, before)
