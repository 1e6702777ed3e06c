"""The goal of a study: what is made best, and within which limits."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Literal, Self

from autotune.accuracy import Guard
from autotune.audio.profile import Objective
from autotune.measure import Pooled

__all__ = ["OBJECTIVES", "Goal", "Limit"]

OBJECTIVES: tuple[Objective, ...] = ("throughput", "latency", "streams")
_KEY = re.compile(
    r"(?P<allowed>inf|[\d.]+(?:e[+-]\d+)?)(?P<baseline>-baseline)?(?P<latency>-latency)?"
    r"(?:-p95-(?P<p95>[\d.]+(?:e[+-]\d+)?))?(?:-mem-(?P<memory>\d+))?"
)


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
        """What was measured and what is allowed, for reports: ``p95 latency 0.61 s, 0.5 s allowed``."""
        if self.name == "memory":
            return f"peak memory {self.got / 2**20:.0f} MiB, {self.allowed / 2**20:.0f} MiB allowed"
        return f"p95 latency {self.got:.3g} s, {self.allowed:.3g} s allowed"


@dataclass(frozen=True)
class Goal:
    """What a deployment is chosen by. Immutable; one object decides by pooled figures, for trials as for finalists."""

    objective: Objective = "throughput"
    """``throughput`` and ``streams``: RTFx, which for audio that comes in real time is the number of streams that the
    machine carries; ``latency``: the 95th percentile, as short as can be."""
    p95_latency_s: float | None = None
    """Seconds within which 95 % of the texts must be there."""
    max_memory_bytes: int | None = None
    guard: Guard = field(default_factory=Guard)
    """Which loss of accuracy is allowed."""

    def score(self, figures: Pooled) -> float:
        """What is made as large as possible: RTFx, or 1 / p95 latency in 1/s. Only ratios of scores mean something."""
        if self.objective == "latency":
            return 1 / max(figures.p95_latency_s, 1e-9)
        return figures.rtfx

    def limits(self, figures: Pooled) -> list[Limit]:
        """What is limited of latency and memory, and what was measured of it."""
        limits: list[Limit] = []
        if self.p95_latency_s is not None:
            limits.append(Limit("p95_latency_s", figures.p95_latency_s, self.p95_latency_s))
        if self.max_memory_bytes is not None:
            limits.append(Limit("memory", float(figures.peak_memory_bytes), float(self.max_memory_bytes)))
        return limits

    def missed(self, figures: Pooled) -> list[Limit]:
        """The limits of latency and memory that aren't kept; accuracy is the guard's."""
        return [limit for limit in self.limits(figures) if limit.excess > 0]

    def constraints(self, figures: Pooled | None) -> dict[str, float]:
        """Optuna's constraints, each ≤0 where it is kept: ``ran``, ``accuracy``, ``p95_latency_s``, ``memory``.

        Accuracy counts by its point estimate, and not at all where no text was judged. ``figures`` is None for a
        deployment that did not run.
        """
        if figures is None:
            return {"ran": 1.0}
        constraints = {"ran": 0.0}
        if figures.accuracy is not None:
            constraints["accuracy"] = self.guard.constraint(figures.accuracy)
        return constraints | {limit.name: limit.excess for limit in self.limits(figures)}

    def feasible(self, figures: Pooled) -> bool:
        """Whether the figures keep every constraint."""
        return all(value <= 0 for value in self.constraints(figures).values())

    @property
    def scored_by(self) -> str:
        """``rtfx`` or ``p95``: goals scored alike can compare each other's trials."""
        return "p95" if self.objective == "latency" else "rtfx"

    @property
    def key(self) -> str:
        """Equal for equal goals; part of the study's name, since Optuna's constraints of a finished trial are final."""
        parts = [f"{self.guard.allowed:g}"]
        if self.guard.reference == "baseline":
            parts.append("baseline")
        if self.objective == "latency":
            parts.append("latency")
        if self.p95_latency_s is not None:
            parts.append(f"p95-{self.p95_latency_s:g}")
        if self.max_memory_bytes is not None:
            parts.append(f"mem-{self.max_memory_bytes}")
        return "-".join(parts)

    @classmethod
    def of_key(cls, key: str) -> Self | None:
        """The goal whose ``key`` this is (streams as throughput, whose trials are the same); None if it is none's."""
        if (match := _KEY.fullmatch(key)) is None:
            return None
        return cls(
            objective="latency" if match["latency"] else "throughput",
            p95_latency_s=float(match["p95"]) if match["p95"] else None,
            max_memory_bytes=int(match["memory"]) if match["memory"] else None,
            guard=Guard(float(match["allowed"]), "baseline" if match["baseline"] else "fp32"),
        )

    def describe(self) -> str:
        """The goal in one line: ``throughput, p95 latency ≤ 0.5 s, memory ≤ 1024 MiB``."""
        parts = [str(self.objective)]
        if self.p95_latency_s is not None:
            parts.append(f"p95 latency ≤ {self.p95_latency_s:g} s")
        if self.max_memory_bytes is not None:
            parts.append(f"memory ≤ {self.max_memory_bytes / 2**20:.0f} MiB")
        if self.guard.allowed == math.inf:
            parts.append("any loss of accuracy")
        elif self.guard.reference == "fp32":
            parts.append("as accurate as fp32 PyTorch")
        return ", ".join(parts)
