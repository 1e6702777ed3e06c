"""The goal of a study: what is made best, and within which limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from autotune.accuracy.guard import Guard
from autotune.intervals import percentile
from autotune.measure.measurement import Measurement

__all__ = ["OBJECTIVES", "Goal", "Limit", "Objective"]

Objective = Literal["throughput", "latency", "streams"]
OBJECTIVES: tuple[Objective, ...] = ("throughput", "latency", "streams")


@dataclass(frozen=True)
class Limit:
    """Something that must not be exceeded, and what was measured of it."""

    name: Literal["p95_latency_s", "memory"]
    got: float
    allowed: float

    @property
    def excess(self) -> float:
        """Measured / allowed − 1: at most 0 where it holds."""
        return self.got / self.allowed - 1

    def describe(self) -> str:
        """For people: ``p95 latency 0.61 s, 0.5 s allowed``."""
        if self.name == "memory":
            return f"peak memory {self.got / 2**20:.0f} MiB, {self.allowed / 2**20:.0f} MiB allowed"
        return f"p95 latency {self.got:.3g} s, {self.allowed:.3g} s allowed"


@dataclass(frozen=True)
class Goal:
    """What a deployment is chosen by. Immutable; one object decides for trials and finalists alike."""

    objective: Objective = "throughput"
    """``throughput`` and ``streams``: RTFx, which for audio that comes in real time is the number of streams that the
    machine carries; ``latency``: the 95th percentile, as short as can be."""
    p95_latency_s: float | None = None
    """Seconds within which 95 % of the texts must be there."""
    max_memory_bytes: int | None = None
    guard: Guard = field(default_factory=Guard)
    """Which loss of accuracy is allowed."""

    def score(self, measurement: Measurement) -> float:
        """Larger is better; only ratios of scores mean something. Positive and finite for a sane measurement."""
        if self.objective == "latency":
            return 1 / max(measurement.latency(0.95), 1e-9)
        return measurement.rtfx

    def limits(self, measurements: Sequence[Measurement]) -> list[Limit]:
        """What is limited, over several measurements of one deployment: all their latencies, the highest peak."""
        found: list[Limit] = []
        if self.p95_latency_s is not None:
            pooled = [value for measurement in measurements for value in measurement.latencies_s]
            found.append(Limit("p95_latency_s", percentile(pooled, 0.95), self.p95_latency_s))
        if self.max_memory_bytes is not None:
            peak = max(measurement.peak_memory_bytes for measurement in measurements)
            found.append(Limit("memory", float(peak), float(self.max_memory_bytes)))
        return found

    def within_limits(self, measurements: Sequence[Measurement]) -> bool:
        """Whether latency and memory are as asked for; accuracy is the guard's."""
        return all(limit.excess <= 0 for limit in self.limits(measurements))

    def constraints(self, measurement: Measurement | None) -> dict[str, float]:
        """What the sampler is told of a trial, ≤0 where it holds: ``ran``, ``accuracy``, ``p95_latency_s``, ``memory``.

        Accuracy counts by its point estimate; None is a trial that did not run.
        """
        if measurement is None:
            return {"ran": 1.0}
        told = {"ran": 0.0}
        if measurement.accuracy is not None:
            told["accuracy"] = self.guard.constraint(measurement.accuracy)
        return told | {limit.name: limit.excess for limit in self.limits([measurement])}

    def feasible(self, measurement: Measurement) -> bool:
        """Whether every constraint holds."""
        return all(value <= 0 for value in self.constraints(measurement).values())

    @property
    def scored_by(self) -> str:
        """``rtfx`` or ``p95``: goals scored alike can compare each other's trials."""
        return "p95" if self.objective == "latency" else "rtfx"

    @property
    def key(self) -> str:
        """Equal for equal goals; part of the study's name, since told constraints are final."""
        parts = [f"{self.guard.allowed:g}"]
        if self.objective == "latency":
            parts.append("latency")
        if self.p95_latency_s is not None:
            parts.append(f"p95-{self.p95_latency_s:g}")
        if self.max_memory_bytes is not None:
            parts.append(f"mem-{self.max_memory_bytes}")
        return "-".join(parts)

    def describe(self) -> str:
        """For people: ``throughput, p95 latency ≤ 0.5 s, memory ≤ 1024 MiB``."""
        parts = [str(self.objective)]
        if self.p95_latency_s is not None:
            parts.append(f"p95 latency ≤ {self.p95_latency_s:g} s")
        if self.max_memory_bytes is not None:
            parts.append(f"memory ≤ {self.max_memory_bytes / 2**20:.0f} MiB")
        if self.guard.allowed == math.inf:
            parts.append("any loss of accuracy")
        return ", ".join(parts)
