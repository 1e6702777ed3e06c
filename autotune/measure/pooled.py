"""Pooled: what several measurements of one deployment say together, each figure as docs/deploy-yaml.md defines it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from autotune.accuracy import Accuracy
from autotune.accuracy.record import pooled
from autotune.intervals import percentile
from autotune.measure.measurement import Measurement, NewShapes

__all__ = ["Pooled"]

LOWER_IS_WORSE = ("clock_share", "gpu_clock_share")


@dataclass(frozen=True)
class Pooled:
    """The figures of at least one measurement (of one alone: its own), in whatever order. Raises ValueError for none.

    Intervals over blocks, ratios within blocks and scores relative to an anchor are not among them: they compare single
    measurements, made under conditions that pooling would mix.
    """

    measurements: tuple[Measurement, ...]

    def __post_init__(self) -> None:
        if not self.measurements:
            raise ValueError("a deployment must be measured to have figures, but there is no measurement of it")

    @property
    def audio_s(self) -> float:
        """Seconds of audio transcribed while measuring."""
        return math.fsum(measurement.audio_s for measurement in self.measurements)

    @property
    def rtfx(self) -> float:
        """Σ audio seconds / Σ processing seconds: a ratio of sums."""
        return self.audio_s / math.fsum(measurement.processing_s for measurement in self.measurements)

    def latency_s(self, share: float) -> float:
        """Percentile of all latency samples in seconds, ``share`` in 0..1."""
        # Of all samples, not of the measurements' percentiles: these can't be averaged.
        return percentile([sample for measurement in self.measurements for sample in measurement.latencies_s], share)

    @property
    def p95_latency_s(self) -> float:
        """The 95th percentile of all latency samples in seconds, which the latency limit and objective are about."""
        return self.latency_s(0.95)

    @property
    def peak_memory_bytes(self) -> int:
        """The highest peak of resident memory among the measurements, bytes."""
        return max(measurement.peak_memory_bytes for measurement in self.measurements)

    @cached_property
    def accuracy(self) -> Accuracy | None:
        """Errors and lengths of each clip added up; None if the texts of no measurement were checked."""
        checked = [measurement.accuracy for measurement in self.measurements if measurement.accuracy is not None]
        return pooled(checked) if checked else None

    @property
    def load_s(self) -> float:
        """The median of the measurements' cold starts, seconds."""
        return median(measurement.load_s for measurement in self.measurements)

    @property
    def stages(self) -> dict[str, float]:
        """Core-seconds of each stage per second of audio: ratios of sums."""
        return {
            name: math.fsum(measurement.stages_s[name] for measurement in self.measurements) / self.audio_s
            for name in self.measurements[0].stages_s
        }

    @property
    def padding_share(self) -> float:
        """The median of the measurements' shares of padding."""
        return median(measurement.padding_share for measurement in self.measurements)

    @property
    def new_shapes(self) -> NewShapes:
        """Medians over the measurements: of the shares, and of the costs where there is one."""
        shapes = [measurement.new_shapes for measurement in self.measurements]
        costs = [shape.cost for shape in shapes if shape.cost is not None]
        return NewShapes(share=median(shape.share for shape in shapes), cost=median(costs) if costs else None)

    @property
    def noise(self) -> dict[str, float]:
        """The worst value of each noise fact: the lowest of the clocks, the highest of everything else."""
        facts: dict[str, list[float]] = {}
        for measurement in self.measurements:
            for name, value in measurement.noise.items():
                facts.setdefault(name, []).append(value)
        return {name: (min if name in LOWER_IS_WORSE else max)(facts[name]) for name in sorted(facts)}

    @property
    def stability(self) -> str:
        """The verdict of the most disturbed measurement."""
        return max(self.measurements, key=lambda own: (own.severity, not own.steady, own.verdict)).verdict
