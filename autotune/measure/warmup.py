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

STEADY_PASSES = 3
STEADY_WITHIN = 0.05
"""Passes agree when the shortest is shorter than the longest by no more than this share of it."""
MAX_PASSES = 8
MAX_S = 20.0


@dataclass(frozen=True)
class WarmUp:
    """How the warm-up went."""

    passes_s: tuple[float, ...]
    """Wall seconds of each pass."""

    @property
    def steady(self) -> bool:
        """The last three passes agreed."""
        return is_steady(self.passes_s)


def warm_up(
    recognizer: Transcriber,
    recordings: Sequence[Recording],
    arrival: Arrival,
    *,
    now: Callable[[], float] = time.perf_counter,
) -> WarmUp:
    """Pass over ``recordings`` until the last three agree within 5 %, at most 8 passes or 20 s, at least once.

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
    """Whether the last three of at least three passes agree."""
    last = passes_s[-STEADY_PASSES:]
    return len(last) == STEADY_PASSES and max(last) - min(last) <= STEADY_WITHIN * max(last)
