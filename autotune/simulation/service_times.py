"""Service times: what one batch takes, by its rows, their length and how many engines are busy."""

from __future__ import annotations

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property

from pydantic import Field

from autotune.documents import Document
from autotune.simulation.replica import BatchTime

__all__ = [
    "Beside",
    "Carried",
    "CutRecording",
    "NoisyWork",
    "ReadingTimes",
    "ServerTimes",
    "ServicePoint",
    "ServiceTimes",
    "points_of",
]

_QUANTILES = 41
"""Of the spread that is kept, from the least to the largest."""
_NEAREST = 4
"""Measured shapes whose utilisation a shape between them is given."""
_LEAST_MODEL = 1e-12


class ServicePoint(Document):
    """A shape that was measured."""

    size: int = Field(ge=1)
    """Rows of the batch."""
    padded_s: float = Field(gt=0)
    """Seconds of each row, padding included."""
    busy: int = Field(ge=1)
    """Engines that ran at once, this one included."""
    seconds: float = Field(gt=0)
    """Median wall seconds of the batch, from its features to its texts."""
    count: int = Field(ge=1)
    """Batches that were measured."""


class ReadingTimes(Document):
    """Core-seconds beside the engine, for a second of audio."""

    read: float = Field(ge=0)
    chunk: float = Field(ge=0)
    features: float = Field(ge=0)
    punctuation: float = Field(default=0.0, ge=0)
    """0: the deployment has none. Simulated before the engine, like the features of each segment."""


class Beside(Document):
    """What reading and the engines cost each other beside the cores that they share."""

    engine: float = Field(default=1.0, gt=0)
    """How fast batches are while a thread reads and all engines run, relative to an equal part of the cores."""
    reader: float = Field(default=1.0, gt=0)
    """The same of that thread."""


class CutRecording(Document):
    """A recording of the audio profile, as the deployment cuts it."""

    audio_s: float = Field(gt=0)
    pieces: tuple[tuple[float, float, float], ...]
    """Of each segment: its first second, its seconds, and the second of the recording by which it is known to have
    ended (while it is spoken) or has been read."""


class ServerTimes(Document):
    """What `autotune serve` adds to the parts, measured with one request at a time and with a few streams."""

    front_s: float = Field(ge=0)
    """CPU seconds of its own process's one thread for each request."""
    front_audio_s: float = Field(ge=0)
    """The same for each second of a request's audio."""
    worker_s: float = Field(ge=0)
    """CPU seconds of the recognizer's process for each request, beside those of its parts."""
    wait_s: float = Field(ge=0)
    """Seconds of a request's latency that no part and no CPU time explains."""
    stream_cores: float = Field(ge=0)
    """Cores that an open stream keeps busy beside its segments, speech detection included."""
    client_s: float = Field(default=0.0, ge=0)
    """CPU seconds of `autotune load` for each request: what it takes from a server on the same machine."""
    client_stream_cores: float = Field(default=0.0, ge=0)
    """The same for each stream, in cores."""


class Carried(Document):
    """What one machine carries by simulation, on a slow day: the low end of the 90 % interval."""

    p95_latency_s: float = Field(gt=0)
    """Within which 95 % of the texts are there."""
    requests_per_s: float = Field(ge=0)
    """0: not even one now and then."""
    streams: int = Field(ge=0)


class ServiceTimes(Document):
    """What the parts of a deployment take on a machine, as measured."""

    engines: int = Field(ge=1)
    """The deployment's instances."""
    points: tuple[ServicePoint, ...] = Field(min_length=1)
    """Some with one engine busy, and some of the same shapes with all, where there are several."""
    spread: tuple[float, ...] = Field(min_length=1)
    """Quantiles of a batch's seconds over the median of its shape, at equal steps from the least to the largest."""
    reading: ReadingTimes
    beside: Beside = Beside()
    spin_s: float = Field(default=0.0, ge=0)
    """Core-seconds for which each thread of an engine but one spins after a batch: waiting threads take cores, too."""
    products: float | None = Field(default=None, ge=0, le=1)
    """Share of a batch's seconds in matrix products, by the engine's profiler; None: not known."""
    recordings: tuple[CutRecording, ...] = ()
    """Some of the recordings that the deployment was measured on, cut as whole files."""
    spoken: tuple[CutRecording, ...] = ()
    """The same, cut as while they are spoken."""
    server: ServerTimes | None = None
    """None: not measured."""
    carried: Carried | None = None
    """What a server's limits and plans go by; None: not simulated."""

    def batch(self, size: int, padded_s: float) -> BatchTime:
        """What a batch of any shape takes, without noise.

        A measured shape takes what was measured. Between them the utilisation is interpolated, that is how much longer
        the nearest shapes took than S = c0 + c1·B + c2·B·T + c3·B·T² says; never the time itself.
        """
        key = (size, round(padded_s, 3))
        found = self._known.get(key)
        if found is None:
            alone_s = self._alone.at(size, padded_s)
            crowded_s = self._crowded.at(size, padded_s) if self._crowded else alone_s
            found = self._known[key] = BatchTime(alone_s, alone_s / crowded_s)
        return found

    @property
    def coefficients(self) -> tuple[float, ...]:
        """c0 … c3 of one busy engine."""
        return self._alone.coefficients

    @cached_property
    def _known(self) -> dict[tuple[int, float], BatchTime]:
        return {}

    @cached_property
    def _alone(self) -> _Curve:
        one = [point for point in self.points if point.busy == 1]
        return _Curve(one or self.points)

    @cached_property
    def _crowded(self) -> _Curve | None:
        several = [point for point in self.points if point.busy == self.engines]
        return _Curve(several) if several and self.engines > 1 else None


class _Curve:
    """S(B, T) at one number of busy engines."""

    def __init__(self, points: Sequence[ServicePoint]) -> None:
        import numpy as np
        from scipy.optimize import nnls

        self._points = list(points)
        terms = np.array([_terms(point.size, point.padded_s) for point in points])
        seconds = np.array([point.seconds for point in points])
        # Each equation divided by its own time: a millisecond of a short batch counts as much as ten of a long one.
        found, _ = nnls(terms / seconds[:, None], np.ones(len(points)))
        self.coefficients: tuple[float, ...] = tuple(float(value) for value in found)
        self._over = [point.seconds / self._model(point.size, point.padded_s) for point in points]

    def at(self, size: int, padded_s: float) -> float:
        """Seconds of any shape."""
        near = []
        for point, over in zip(self._points, self._over, strict=True):
            distance = math.hypot(math.log(size / point.size), math.log(padded_s / point.padded_s))
            if distance < 1e-6:
                return point.seconds
            near.append((distance, over))
        near.sort()
        weights = [1 / distance for distance, _ in near[:_NEAREST]]
        over = sum(weight * over for weight, (_, over) in zip(weights, near, strict=False)) / sum(weights)
        return over * self._model(size, padded_s)

    def _model(self, size: int, padded_s: float) -> float:
        terms = _terms(size, padded_s)
        return max(_LEAST_MODEL, sum(factor * term for factor, term in zip(self.coefficients, terms, strict=True)))


def _terms(size: int, padded_s: float) -> tuple[float, float, float, float]:
    return 1.0, size, size * padded_s, size * padded_s**2


class NoisyWork:
    """What batches take in one process: as measured, times a draw of their spread, times the process's own luck."""

    def __init__(self, times: ServiceTimes, generator: random.Random, *, process: float = 1.0) -> None:
        """Draw from ``generator``; ``process`` is how much longer everything takes in this process."""
        self._times, self._generator, self._process = times, generator, process

    def __call__(self, size: int, padded_s: float) -> BatchTime:
        """What this batch takes, see ``replica.Work``."""
        plain = self._times.batch(size, padded_s)
        spread = self._times.spread
        place = self._generator.random() * (len(spread) - 1)
        below = int(place)
        above = min(below + 1, len(spread) - 1)
        noise = spread[below] + (spread[above] - spread[below]) * (place - below)
        return BatchTime(plain.alone_s * noise * self._process, plain.crowded_speed)


def points_of(batches: Iterable[tuple[int, float, int, float]]) -> tuple[tuple[ServicePoint, ...], tuple[float, ...]]:
    """Points and spread of raw batches.

    Args:
        batches: (rows, padded seconds of each, busy engines, wall seconds); at least one.
    """
    shapes: dict[tuple[int, float, int], list[float]] = defaultdict(list)
    for size, padded_s, busy, seconds in batches:
        shapes[size, round(padded_s, 3), busy].append(seconds)
    medians = {shape: _five_digits(statistics.median(seconds)) for shape, seconds in shapes.items()}
    points = tuple(
        ServicePoint(size=size, padded_s=padded_s, busy=busy, seconds=medians[size, padded_s, busy], count=len(found))
        for (size, padded_s, busy), found in sorted(shapes.items())
    )
    ratios = sorted(one / medians[shape] for shape, seconds in shapes.items() if len(seconds) > 1 for one in seconds)
    if not ratios:
        return points, (1.0,)
    steps = [place * (len(ratios) - 1) / (_QUANTILES - 1) for place in range(_QUANTILES)]
    return points, tuple(_five_digits(ratios[round(step)]) for step in steps)


def _five_digits(value: float) -> float:
    """As people keep it in a file: no clock is more precise."""
    return float(f"{value:.5g}")
