"""What a study needs to predict wholes from parts: which batches its trials time, and how its recordings are cut."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.audio import Recording
from autotune.hardware import HardwareProfile
from autotune.measure.tracks import Cuts
from autotune.space.resolved import ResolvedSpace
from autotune.study.parts import Parts

__all__ = ["parts_of", "timed_shapes"]

_LENGTHS_S = (0.5, 2.0, 5.0, 10.0, 20.0, 30.0)
_LONGEST_S = 60.0
"""Longest rows that are timed; of longer segments the service times' model speaks."""
_MOST_S = 120.0
"""Padded seconds of the largest batch that is timed."""


def timed_shapes(space: ResolvedSpace) -> tuple[tuple[int, float], ...]:
    """(rows, padded seconds of each) of the batches that show what any way to cut and batch costs, the cheapest first.

    Single rows come first: their times are measured whatever it takes.
    """
    longest = max((*_numbers(space, "chunking.window_s"), *_numbers(space, "chunking.max_segment_s")), default=30.0)
    longest = min(longest, _LONGEST_S)
    lengths = [*(length for length in _LENGTHS_S if length < longest), longest]
    most = min(_MOST_S, max(_numbers(space, "batch.max_audio_s"), default=_MOST_S))
    sizes = [1]
    while 2 * sizes[-1] <= max(_numbers(space, "batch.max_size"), default=1.0):
        sizes.append(2 * sizes[-1])
    shapes = [(size, length) for size in sizes for length in lengths if size == 1 or size * length <= most]
    return tuple(sorted(shapes, key=lambda shape: (shape[0] > 1, shape[0] * shape[1], shape)))


def parts_of(recordings: Sequence[Recording], hardware: HardwareProfile) -> Parts:
    """What predicts wholes of the recordings that a trial transcribes."""
    cuts = Cuts(recordings, hardware)
    return Parts(cuts, cuts.core_s, hardware.usable_cores)


def _numbers(space: ResolvedSpace, path: str) -> list[float]:
    return [float(choice) for choice in space.choices(path) if isinstance(choice, int | float)]
