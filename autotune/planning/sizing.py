"""How many replicas a demand needs, by the recognizer's own scheduler on virtual time with measured service times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autotune.audio.arrivals import Due
from autotune.deploy_yaml import DeploymentFile, ReplicaMemory, replica_memory
from autotune.early_stopping import most_over
from autotune.errors import InfeasibleSloError
from autotune.planning.document import Binding, Estimate, Latencies
from autotune.planning.options import REPORTED_S, Promise
from autotune.recognizer.streaming import interim_streams
from autotune.simulation.server import REQUESTS, LoadUnit, Outcome, Servers, highest_load
from autotune.simulation.service_times import Carried

__all__ = ["CONFIDENCE", "FEW", "MODEL_SD", "Sizing", "carried_by", "servers_of", "spread_of"]

CONFIDENCE = 0.9
_NORMAL = 1.645
"""Standard deviations of a normal distribution that hold 90 % of it on both sides of its middle."""
MODEL_SD = 0.1
"""Standard deviation of the logarithm of predicted over measured capacity: machines' speed drifts between the measuring
of parts and the load (benchmarks/capacity.py)."""
_NEAR = 1.06
"""Factor by which loads are tried around a good guess."""
FEW = 800
"""Recordings that show a load to be far too much."""
FAR = 2.0
"""Multiple of what is promised from which a load is far too much."""
SEGMENTS, FEWEST = 10_000, 300
"""Segments that each figure is simulated with at most, and recordings at least: long recordings have many of them."""
MOST_TOGETHER = 16
"""Replicas that are simulated together; of more, each is taken to carry as much as each of these."""
_PROMISED_S = 1.0
"""Seconds within which texts are promised where nothing else is said."""
_CURVE = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.88, 0.94, 0.98, 1.02, 1.06)
"""Shares of the capacity at which the picture shows latencies."""


def servers_of(document: DeploymentFile, *, seed: int = 0) -> Servers:
    """One machine that serves a file's deployment; the file has service times."""
    assert document.service_times is not None
    return Servers(
        document.deployment,
        document.service_times,
        document.hardware.usable_cores,
        interim_streams=interim_streams(document.measurement.rtfx.median),
        seed=seed,
    )


def carried_by(document: DeploymentFile, *, requests: int = REQUESTS) -> Carried:
    """What one machine carries on a slow day within the promise that the file was tuned for, or within 1 s."""
    promise = Promise(share=0.95, latency_s=document.goal.p95_latency_s or _PROMISED_S)
    found: dict[LoadUnit, float] = {}
    units: tuple[LoadUnit, ...] = ("requests/s", "streams")
    for unit in units:
        sizing = Sizing.of(document, unit, (promise,), requests=requests)
        try:
            sizing.alone_s()
            found[unit] = sizing.capacity().low
        except InfeasibleSloError:
            found[unit] = 0.0
    return Carried(p95_latency_s=promise.latency_s, requests_per_s=found["requests/s"], streams=int(found["streams"]))


def spread_of(document: DeploymentFile) -> float:
    """Standard deviation of the logarithm of a process's speed, from the blocks of fresh processes, and the model's."""
    from scipy.special import stdtrit

    measured = document.measurement
    half = math.log(measured.rtfx.high / measured.rtfx.low) / 2
    blocks = max(2, measured.blocks)
    between = half * math.sqrt(blocks) / float(stdtrit(blocks - 1, 0.975))
    return math.hypot(between, MODEL_SD)


@dataclass(frozen=True)
class Sizing:
    """Loads and promises on machines of one kind, as measured and at both ends of the 90 % interval."""

    document: DeploymentFile
    servers: Servers
    unit: LoadUnit
    promises: tuple[Promise, ...]
    spread: float
    start: float
    """A load of one machine to begin with."""
    requests: int = REQUESTS
    """Recordings that each figure is simulated with; fewer of long ones."""
    memory_bytes: float = math.inf
    """What a replica may take."""

    @classmethod
    def of(
        cls,
        document: DeploymentFile,
        unit: LoadUnit,
        promises: tuple[Promise, ...],
        *,
        seed: int = 0,
        requests: int = REQUESTS,
        memory_bytes: float = math.inf,
    ) -> Sizing:
        """Of a file with service times."""
        servers, rtfx = servers_of(document, seed=seed), document.measurement.rtfx.median
        requests = min(requests, max(FEWEST, round(SEGMENTS / servers.mean_segments(unit))))
        start = max(1.0, rtfx / 2) if unit == "streams" else 0.6 * rtfx / servers.mean_s(unit)
        return cls(document, servers, unit, promises, spread_of(document), start, requests, memory_bytes)

    def kept(self, outcome: Outcome) -> bool:
        """Whether all promises are kept."""
        return all(outcome.latency_s(promise.share) <= promise.latency_s for promise in self.promises)

    def needs(self, outcome: Outcome, load: float, replicas: int) -> ReplicaMemory:
        """What each replica takes at a load of all of them."""
        streams = math.ceil(load / replicas) if self.unit == "streams" else 0
        return replica_memory(self.document, waiting_s=outcome.whole.most_waiting_s, streams=streams)

    def fits(self, outcome: Outcome, load: float, replicas: int) -> bool:
        """Whether each replica has memory enough at a load of all of them."""
        return self.needs(outcome, load, replicas).total <= self.memory_bytes

    def alone_s(self) -> float:
        """What the strictest promise's share of the recordings takes at least.

        Raises:
            InfeasibleSloError: that is more than is promised.
        """
        alone = sorted(self.servers.alone(self.unit))
        for promise in self.promises:
            least_s = alone[max(0, math.ceil(promise.share * len(alone)) - 1)]
            if least_s > promise.latency_s:
                raise InfeasibleSloError(
                    f"The promise must be at least what a recording takes while nothing else is there, but "
                    f"{promise.describe()} was asked for and that takes {least_s:.3g} s. Promise more, or plan with a "
                    "deployment that was tuned for latency (autotune tune --objective latency)."
                )
        strictest = max(promise.share for promise in self.promises)
        return alone[max(0, math.ceil(strictest * len(alone)) - 1)]

    def capacity(self) -> Estimate:
        """The highest load of one machine."""
        value = self._highest(1.0, 1, self.start)
        near = value or self.start
        low, high = (self._highest(slower, 1, near / slower, _NEAR) for slower in (self._slow, 1 / self._slow))
        return Estimate(value=value, low=min(low, value), high=max(high, value))

    def reported(self, capacity: float, run_s: float = REPORTED_S) -> float | None:
        """What a search by runs of ``run_s`` seconds would report: fewer may be late than the promise says."""
        promise = self.promises[0]
        mean_s = self.servers.mean_s(self.unit)

        def shown(load: float) -> bool:
            in_time = run_s * (load / mean_s if self.unit == "streams" else load)
            most = most_over(round(in_time), promise.share)
            if most is None:
                return False
            outcome = self._offered(1.0, 1, load)
            late = sum(latency_s > promise.latency_s for latency_s in outcome.latencies_s)
            return late <= most / in_time * len(outcome.latencies_s)

        return highest_load(shown, 0.95 * capacity, whole=self.unit == "streams", step=_NEAR)

    def replicas(self, load: float, low: float) -> tuple[int, float]:
        """The fewest that carry a load together on a slow day, and what each of them carries then.

        Args:
            load: of all.
            low: what one machine alone carries on a slow day.
        """
        together = min(MOST_TOGETHER, max(1, math.ceil(load / low * (1 - 1e-9))))
        if together == 1:
            return 1, low
        each = self._highest(self._slow, together, together * low, _NEAR) / together
        count = max(1, math.ceil(load / max(each, 1e-12) * (1 - 1e-9)))
        # Fewer share a queue less well than so many.
        while count < together:
            outcome = self._offered(self._slow, count, load)
            if self.kept(outcome) and self.fits(outcome, load, count):
                break
            count += 1
        return count, each

    def replicas_for(self, dues: Sequence[Due]) -> int:
        """The fewest that carry recorded arrivals on a slow day."""
        low, high = 0, 1
        while not self.kept(self._traced(self._slow, high, dues)):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.kept(self._traced(self._slow, middle, dues)) else (middle, high)
        return high

    def latencies(
        self, load: float, replicas: int, dues: Sequence[Due] | None = None
    ) -> tuple[Latencies, float, ReplicaMemory]:
        """What so many replicas do at a load of all of them.

        Returns:
            Percentiles, the share of the time that engines run, and what memory a replica needs at most.
        """
        together = replicas if dues is not None else min(replicas, MOST_TOGETHER)
        load *= together / replicas
        if self.unit == "streams":
            load = max(1.0, round(load))
        outcomes = [
            self._traced(slower, together, dues) if dues is not None else self._offered(slower, together, load)
            for slower in (1.0, 1 / self._slow, self._slow)
        ]
        found = {
            name: _estimate([outcome.latency_s(share) for outcome in outcomes])
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        }
        busy_share = outcomes[0].whole.busy_share(self.servers.deployment.instances * together)
        needs = max((self.needs(outcome, load, together) for outcome in outcomes), key=lambda memory: memory.total)
        return Latencies(**found), busy_share, needs

    def over_day(self, loads: Sequence[float], replicas: int) -> Latencies:
        """Percentiles over a day whose equal parts have these loads of all replicas.

        A part of a day lasts far longer than a queue, so each is simulated by itself, and counts by what arrives in it.
        """
        together = min(replicas, MOST_TOGETHER)
        days = []
        for slower in (1.0, 1 / self._slow, self._slow):
            day: list[tuple[float, float]] = []
            for load in filter(None, loads):
                each = load * together / replicas
                each = max(1.0, round(each)) if self.unit == "streams" else each
                found = self._offered(slower, together, each, requests=min(FEW, self.requests)).latencies_s
                day += [(latency_s, load / len(found)) for latency_s in found]
            days.append(sorted(day))
        shares = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        return Latencies(**{name: _estimate([_weighted(day, share) for day in days]) for name, share in shares})

    def curve(self, capacity: Estimate) -> tuple[tuple[float, Estimate], ...]:
        """p95 latency of one machine against its load."""
        points: dict[float, Estimate] = {}
        for share in _CURVE:
            load = capacity.value * share
            load = max(1.0, float(round(load))) if self.unit == "streams" else load
            if load not in points:
                points[load] = self.latencies(load, 1)[0].p95
        return tuple(points.items())

    def binding(self, capacity: float) -> tuple[Binding, float]:
        """What keeps one machine from carrying more, and how many recordings are inside it on average then."""
        outcome = self._offered(1.0, 1, capacity)
        whole, deployment = outcome.whole, self.servers.deployment
        per_request = self.servers.core_seconds(self.unit)
        arrived_per_s = len(whole.latencies_s) / whole.ended_s
        engines = whole.busy_share(deployment.instances)
        busy: dict[Binding, float] = {
            "engines": engines,
            "cores": (
                sum(batch.ended_s - batch.began_s for batch in whole.batches)
                * min(deployment.intra_op_num_threads, self.servers.cores)
                / whole.ended_s
                + arrived_per_s * per_request
            )
            / self.servers.cores,
            "server thread": arrived_per_s * self.servers.front_seconds(self.unit),
        }
        most: Binding = max(busy, key=lambda name: busy[name])
        more = max(capacity + 1, capacity * _NEAR) if self.unit == "streams" else capacity * _NEAR
        beyond = self._offered(1.0, 1, more)
        inside = arrived_per_s * (math.fsum(outcome.latencies_s) / len(outcome.latencies_s))
        if self.unit == "streams":
            inside += capacity
        if self.kept(beyond) and not self.fits(beyond, more, 1):
            return "memory", inside
        return (most if busy[most] > 0.8 else "promise"), inside

    @property
    def _slow(self) -> float:
        return math.exp(_NORMAL * self.spread)

    def _highest(self, slower: float, replicas: int, start: float, step: float = 2.0) -> float:
        servers = replace(self.servers, slower=slower, replicas=replicas)

        def kept(load: float) -> bool:
            if servers.starves(self.unit, load):
                return False
            if self.requests >= 2 * FEW:
                first = servers.offered(self.unit, load, requests=FEW)
                if any(first.latency_s(promise.share) > FAR * promise.latency_s for promise in self.promises):
                    return False
            outcome = servers.offered(self.unit, load, requests=self.requests)
            return self.kept(outcome) and self.fits(outcome, load, replicas)

        return highest_load(kept, start, whole=self.unit == "streams", step=step) or 0.0

    def _offered(self, slower: float, replicas: int, load: float, *, requests: int | None = None) -> Outcome:
        servers = replace(self.servers, slower=slower, replicas=replicas)
        return servers.offered(self.unit, load, requests=self.requests if requests is None else requests)

    def _traced(self, slower: float, replicas: int, dues: Sequence[Due]) -> Outcome:
        return replace(self.servers, slower=slower, replicas=replicas).offered(self.unit, 1.0, dues=dues)


def _estimate(values: Sequence[float]) -> Estimate:
    return Estimate(value=values[0], low=min(values), high=max(values))


def _weighted(values: Sequence[tuple[float, float]], share: float) -> float:
    """The least of sorted (value, weight) that ``share`` of the weight doesn't exceed."""
    reached, wanted = 0.0, share * math.fsum(weight for _, weight in values) * (1 - 1e-12)
    for value, weight in values:
        reached += weight
        if reached >= wanted:
            return value
    return values[-1][0]
