"""Plan: how many machines a demand needs, and why, ``schema: autotune/plan/v1``."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import ConfigDict, Field

from autotune.documents import Document
from autotune.planning.demand import Demand
from autotune.planning.options import Promise
from autotune.simulation.server import LoadUnit

__all__ = [
    "SCHEMA",
    "Binding",
    "Compared",
    "Cost",
    "Estimate",
    "Latencies",
    "Memory",
    "Plan",
    "Provenance",
    "Simulation",
    "plan_schema_text",
]

SCHEMA: Literal["autotune/plan/v1"] = "autotune/plan/v1"

Binding = Literal["engines", "cores", "server thread", "memory", "promise"]
"""What keeps a machine from carrying more: its engines or cores are busy, the server's one thread is, what waits and is
open takes all memory, or texts would come late while all of them have room."""


Provenance = Literal["measured", "predicted", "simulated", "formula", "given"]
"""Where a figure comes from."""


class Estimate(Document):
    """A simulated figure with its 90 % interval."""

    value: float
    low: float
    high: float


class Latencies(Document):
    """Percentiles of latency in seconds."""

    p50: Estimate
    p95: Estimate
    p99: Estimate


class Memory(Document):
    """Memory of one replica, in bytes."""

    needed: int
    """At its load, see ``parts``."""
    limit: int
    """What it may take: the machine's, or what was given."""
    parts: dict[str, int]
    """The measured peak with its headroom, the server's own process, what waits, and open streams."""


class Simulation(Document):
    """What the scheduler on virtual time says of the fleet."""

    unit: LoadUnit
    load: float
    """What arrives at the peak, at all replicas together."""
    load_per_replica: float
    """That of each, while all of them run."""
    capacity: Estimate
    """The highest load of one machine alone that keeps the promises: λ*."""
    capacity_audio_s_per_s: float
    """Seconds of audio a second at that load."""
    reported: float | None
    """What `autotune load --find-capacity` with runs of ``reported_s`` would report: its rule (MLPerf's) lets fewer be
    late. None: such runs are too short to show anything."""
    reported_s: float = 60.0
    """Seconds of each run."""
    latency_s: Latencies
    """At ``load_per_replica``."""
    over_day: Latencies | None = None
    """Over a whole day of the given curve; None where none was given."""
    alone_s: float
    """The least latency within which the strictest promise's share of the texts would be there without any load."""
    engines_busy: float
    """Share of the time that engines run at ``load_per_replica``."""
    binds: Binding
    in_flight: float
    """Recordings without a text that a replica has on average at the low end of its capacity."""
    requests: int
    """Recordings that each figure was simulated with."""
    curve: tuple[tuple[float, Estimate], ...] = ()
    """Load of one machine, and p95 latency there; empty unless a picture was asked for."""


class Cost(Document):
    """What the machines cost; amounts are of whatever currency the price was given in."""

    currency: str
    per_machine_hour: float
    per_month: float
    """730 hours of all machines."""
    per_audio_hour: float
    """At the average demand."""
    scaled_per_month: float | None
    """With as many machines in each part of the day as it needs; None where the day has no curve."""


class Compared(Document):
    """Another deployment for the same demand."""

    file: str
    deployment: str
    hardware: str
    machines: int | None
    """None: it can't keep the promises."""
    per_month: float | None
    tie: bool
    """Whether the intervals don't tell it from the cheapest."""


class Plan(Document):
    """The answer, with what it was computed from."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, title="autotune plan.json")

    schema_version: Literal["autotune/plan/v1"] = Field(default=SCHEMA, alias="schema")
    demand: Demand
    rtfx_used: float
    """Audio seconds that one replica transcribes each second, lower end: as measured, or at the simulated capacity."""
    utilisation_limit: float
    """Share of a replica's capacity that may be planned for, in (0, 1]."""
    replicas: int
    """Copies of the measured deployment, each with the measured machine's cores to itself; ≥1."""
    machines: int
    """Machines like the measured one: one a replica."""
    utilisation: float
    """Share of what each replica of the fleet carries that it has at this demand; ≤ ``utilisation_limit``."""
    spare_audio_s_per_s: float
    """More audio seconds a second that still fit under the limit; ≥0."""
    hardware: str
    """Fingerprint of the measured machine."""
    method: str
    """How it was computed, one line."""
    notes: tuple[str, ...]
    """What the figures do not cover."""
    file: str | None = None
    deployment: str | None = None
    """Described in one line."""
    promises: tuple[Promise, ...] = ()
    spare_replicas: int = 0
    """Of the replicas, how many may be away."""
    peak: float = 1.0
    """The peak that is planned for, in multiples of the demand."""
    simulation: Simulation | None = None
    """None: the formula was used, which knows no latency."""
    memory: Memory | None = None
    """None: of a plan from before."""
    cost: Cost | None = None
    compared: tuple[Compared, ...] = ()
    """The other deployments, the cheapest first."""
    provenance: dict[str, Provenance] = Field(default_factory=dict)
    """Where the figures come from."""
    test: str | None = None
    """The command that tests the plan: all of its load on the fleet."""
    test_one: str | None = None
    """The command that tests one machine at the low end of its capacity."""

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values, for ``--json`` and ``--out``."""
        return self.model_dump(mode="json", by_alias=True)


def plan_schema_text() -> str:
    """The JSON Schema of a plan, published as ``docs/schemas/plan-v1.json``."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= Plan.model_json_schema(by_alias=True)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
