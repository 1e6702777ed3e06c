"""A plan: what a demand needs of each deployment, by simulation where its parts are known, and which is cheapest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.audio import builtin_profiles
from autotune.audio.arrivals import Due
from autotune.deploy_yaml import DeploymentFile, ReplicaMemory, replica_memory
from autotune.errors import DocumentError, InfeasibleSloError
from autotune.planning.asked import Asked
from autotune.planning.capacity import notes_of, plan
from autotune.planning.cost import cost_of
from autotune.planning.demand import Demand
from autotune.planning.document import Compared, Estimate, Plan, Provenance, Simulation
from autotune.planning.memory import check_memory, memory_limit, memory_of
from autotune.planning.options import REPORTED_S, PlanOptions, Price, Promise
from autotune.planning.sizing import Sizing
from autotune.reporting import Reporter
from autotune.simulation.server import REQUESTS, LoadUnit

__all__ = ["plan_fleets"]

_GAP = 100.0
"""Multiple of the mean time between arrivals of which a trace's gap is told."""
_LEAST_GAP_S = 60.0
_PROVENANCE: dict[str, Provenance] = {
    "service_times": "measured",
    "capacity": "simulated",
    "latency_s": "simulated",
    "replicas": "simulated",
    "memory": "simulated",
}
"""Where the figures of a simulated plan come from."""


@dataclass(frozen=True)
class _Fleet:
    """What one file's machines would be, and what they cost at both ends of the interval."""

    plan: Plan
    low_machines: float
    high_machines: float
    sizing: Sizing | None = None
    """None where the formula was used."""


def plan_fleets(
    files: Sequence[tuple[str, DeploymentFile]],
    options: PlanOptions,
    reporter: Reporter,
    *,
    curve: bool = False,
    requests: int = REQUESTS,
) -> Plan:
    """The fewest machines of each file's kind that carry a demand; the cheapest of them, beside the others.

    Args:
        files: name and content of each; at least one.
        options: what is asked.
        reporter: hears of progress.
        curve: whether the cheapest fleet's latency is simulated at many loads, for a picture.
        requests: recordings that each figure is simulated with.

    Raises:
        DocumentError: an option is wrong, or doesn't go with a file.
        InfeasibleSloError: no file's deployment keeps the promises.
    """
    prices = _prices(files, options)
    fleets: list[_Fleet] = []
    refused: list[tuple[str, DeploymentFile, InfeasibleSloError]] = []
    for (name, document), price in zip(files, prices, strict=True):
        try:
            fleets.append(_fleet(name, document, price, options, reporter, requests))
        except InfeasibleSloError as error:
            refused.append((name, document, error))
    reporter.working("")
    if not fleets:
        raise refused[0][2]

    def amount(fleet: _Fleet) -> float:
        return fleet.plan.cost.per_month if fleet.plan.cost is not None else float(fleet.plan.machines)

    cheapest, *others = sorted(fleets, key=amount)
    answer = cheapest.plan.model_copy(update={"compared": (*_dearer(cheapest, others), *_unfit(refused))})
    if not curve or cheapest.sizing is None or answer.simulation is None:
        return answer
    reporter.working("simulating the picture")
    points = cheapest.sizing.curve(answer.simulation.capacity)
    reporter.working("")
    return answer.model_copy(update={"simulation": answer.simulation.model_copy(update={"curve": points})})


def _dearer(cheapest: _Fleet, others: Sequence[_Fleet]) -> list[Compared]:
    return [
        Compared(
            file=one.plan.file or "",
            deployment=one.plan.deployment or "",
            hardware=one.plan.hardware,
            machines=one.plan.machines,
            per_month=None if one.plan.cost is None else one.plan.cost.per_month,
            tie=_each(one) * one.low_machines <= _each(cheapest) * cheapest.high_machines,
        )
        for one in others
    ]


def _unfit(refused: Sequence[tuple[str, DeploymentFile, InfeasibleSloError]]) -> list[Compared]:
    return [
        Compared(
            file=name,
            deployment=document.deployment.describe(),
            hardware=document.hardware.fingerprint,
            machines=None,
            per_month=None,
            tie=False,
        )
        for name, document, _ in refused
    ]


def _each(fleet: _Fleet) -> float:
    return 1.0 if fleet.plan.cost is None else fleet.plan.cost.per_machine_hour


def _prices(files: Sequence[tuple[str, DeploymentFile]], options: PlanOptions) -> list[Price | None]:
    given = options.prices or ()
    if len(given) in (0, 1):
        return [*(given or (None,))] * len(files)
    if len(given) != len(files):
        raise DocumentError(
            f"--price must be one for all files, or one for each, but got {len(given)} for {len(files)}."
        )
    return list(given)


def _fleet(
    name: str, document: DeploymentFile, price: Price | None, options: PlanOptions, reporter: Reporter, requests: int
) -> _Fleet:
    asked = Asked.of(document, options)
    demand, peak = asked.demand, asked.peak
    check_memory(name, document, options)
    missing = asked.missing(document)
    if missing is None:
        return _simulated(name, document, price, options, asked, reporter, requests)
    if asked.dues is not None:
        raise DocumentError(f"A --trace must be simulated, but {name}: {missing}")
    if options.promises:
        raise DocumentError(f"{options.promises[0].describe()} can't be planned for, since {name}: {missing}")
    answer = plan(document, _times(demand, peak), utilisation=options.utilisation)
    audio = document.audio_profile
    rate = demand.audio_rate(audio.audio_s / audio.recordings)
    # The lower end was planned with: the middle and the other end need fewer.
    rtfx = document.measurement.rtfx
    machines = answer.replicas + options.spare
    extra = [*answer.notes]
    if missing and asked.promises:
        extra.insert(0, f"Latency isn't predicted: {missing}")
    return _Fleet(
        answer.model_copy(
            update={
                "demand": demand,
                "replicas": machines,
                "machines": machines,
                "notes": tuple(extra),
                "file": name,
                "deployment": document.deployment.describe(),
                "spare_replicas": options.spare,
                "peak": peak,
                "memory": memory_of(replica_memory(document), document, options),
                "cost": cost_of(price, machines, rate, None),
                "provenance": {
                    "rtfx_used": "measured" if document.predicted is None else "predicted",
                    "replicas": "formula",
                    "memory": "measured",
                    **({"price": "given"} if price else {}),
                },
            }
        ),
        max(1.0, rate * peak / (rtfx.high * answer.utilisation_limit)) + options.spare,
        float(machines),
    )


def _times(demand: Demand, factor: float) -> Demand:
    def more(value: float | None) -> float | None:
        return None if value is None else value * factor

    return demand.model_copy(
        update={"audio_s_per_s": more(demand.audio_s_per_s), "requests_per_s": more(demand.requests_per_s)}
    )


def _simulated(
    name: str,
    document: DeploymentFile,
    price: Price | None,
    options: PlanOptions,
    asked: Asked,
    reporter: Reporter,
    requests: int,
) -> _Fleet:
    demand, dues, unit = asked.demand, asked.dues, asked.unit
    most_bytes = memory_limit(document, options)
    sizing = Sizing.of(document, unit, asked.promises, seed=options.seed, requests=requests, memory_bytes=most_bytes)
    mean_s = sizing.servers.mean_s(unit)
    rate = demand.audio_rate(mean_s)
    average = rate if unit == "streams" else rate / mean_s
    load = average * asked.peak
    limit = _utilisation(options)
    reporter.working("simulating one machine", name)
    capacity = _capacity(name, sizing)
    _check_countable(demand, load, capacity, unit)
    reporter.working("simulating the fleet", name)
    if dues is None:
        needed, carries = sizing.replicas(load / limit, capacity.low)
    else:
        needed = sizing.replicas_for(dues)
        carries = max(capacity.low, load / needed)
    replicas = needed + options.spare
    each = load / replicas
    usable = carries * limit
    audio = mean_s if unit == "requests/s" else 1.0
    day = None if options.curve is None else [average * part for part in options.curve]
    followed = None if day is None else _machines_that_follow(day, usable, options.spare)
    simulation, needs = _simulation(sizing, capacity, (load, replicas, dues, day), options.duration_s or REPORTED_S)
    answer = Plan(
        demand=demand,
        rtfx_used=capacity.low * audio,
        utilisation_limit=limit,
        replicas=replicas,
        machines=replicas,
        utilisation=min(1.0, each / carries),
        spare_audio_s_per_s=max(0.0, needed * usable - load) * audio,
        hardware=document.hardware.fingerprint,
        method="simulation: the recognizer's own scheduler on virtual time, with measured service times",
        notes=tuple(_notes(document, demand, dues, sizing, capacity)),
        file=name,
        deployment=document.deployment.describe(),
        promises=asked.promises,
        spare_replicas=options.spare,
        peak=asked.peak,
        memory=memory_of(needs, document, options),
        simulation=simulation,
        cost=cost_of(price, replicas, rate, followed),
        provenance=_provenance(document, price),
        test=_test(document, unit, load, asked.promises),
        test_one=_test(document, unit, capacity.low, asked.promises),
    )
    # How many the middle and the better end of the interval would need; the worse end is what is planned with.
    fewest = max(1.0, load / (capacity.high * limit)) + options.spare
    return _Fleet(answer, fewest, float(replicas), sizing)


def _provenance(document: DeploymentFile, price: Price | None) -> dict[str, Provenance]:
    given: dict[str, Provenance] = {"price": "given"} if price else {}
    predicted: dict[str, Provenance] = {} if document.predicted is None else {"service_times": "predicted"}
    return _PROVENANCE | given | predicted


def _utilisation(options: PlanOptions) -> float:
    limit = 1.0 if options.utilisation is None else options.utilisation
    if not 0 < limit <= 1:
        raise DocumentError(f"--utilisation must be in (0, 1], but got {limit}.")
    return limit


def _check_countable(demand: Demand, load: float, capacity: Estimate, unit: LoadUnit) -> None:
    if not load / capacity.low < 2**53:
        raise DocumentError(
            f"The demand must need fewer than 2**53 replicas, but {demand.text!r} needs more: each carries "
            f"{capacity.low:.3g} {unit}."
        )


def _machines_that_follow(day: Sequence[float], usable: float, spare: int) -> float:
    """Machines on average over a day whose number follows the load, of which each carries ``usable``."""
    return math.fsum(max(1, math.ceil(load / usable)) + spare for load in day) / len(day)


def _capacity(name: str, sizing: Sizing) -> Estimate:
    """What one machine carries, something even on a slow day. Raises InfeasibleSloError."""
    sizing.alone_s()  # or nothing keeps the promise
    capacity = sizing.capacity()
    if capacity.low <= 0:
        least = "stream" if sizing.unit == "streams" else "request now and then"
        raise InfeasibleSloError(
            f"{name}: one machine must carry at least one {least} within "
            f"{', '.join(promise.describe() for promise in sizing.promises)}, but carries none on a slow day."
        )
    return capacity


def _simulation(
    sizing: Sizing,
    capacity: Estimate,
    fleet: tuple[float, int, tuple[Due, ...] | None, Sequence[float] | None],
    run_s: float,
) -> tuple[Simulation, ReplicaMemory]:
    load, replicas, dues, day = fleet
    latencies, engines_busy, needs = sizing.latencies(load, replicas, dues)
    binds, in_flight = sizing.binding(capacity.low)
    simulation = Simulation(
        unit=sizing.unit,
        load=load,
        load_per_replica=load / replicas,
        capacity=capacity,
        capacity_audio_s_per_s=capacity.value
        * (sizing.servers.mean_s(sizing.unit) if sizing.unit != "streams" else 1.0),
        reported=sizing.reported(capacity.value, run_s),
        reported_s=run_s,
        latency_s=latencies,
        over_day=None if day is None else sizing.over_day(day, replicas),
        alone_s=sizing.alone_s(),
        engines_busy=engines_busy,
        binds=binds,
        in_flight=in_flight,
        requests=sizing.requests if dues is None else len(dues),
    )
    return simulation, needs


def _notes(
    document: DeploymentFile, demand: Demand, dues: tuple[Due, ...] | None, sizing: Sizing, capacity: Estimate
) -> list[str]:
    notes = notes_of(document, demand)
    if sizing.servers.times.server is None:
        notes.append(
            "What the server itself takes was not measured (it needs the extra [serve]): plan for a little more."
        )
    if dues is not None:
        gaps = [(second.at_s - first.at_s, first.at_s) for first, second in itertools.pairwise(dues)]
        longest_s, at_s = max(gaps)
        if longest_s > max(_LEAST_GAP_S, _GAP * dues[-1].at_s / len(dues)):
            notes.append(
                f"The trace has a gap of {longest_s:.0f} s at {at_s:.0f} s after its busiest stretch begins: if "
                "recording stopped there, cut it out."
            )
    if sizing.unit == "streams":
        notes.append(
            f"Start the servers with --max-streams {int(capacity.low)}: so many keep the promise on a slow day."
        )
    return notes


def _test(document: DeploymentFile, unit: LoadUnit, offered: float, promises: tuple[Promise, ...]) -> str:
    audio = document.audio_profile
    # The file doesn't hold where the user's own audio lies, nor where a profile of their own does.
    own = " --audio YOUR_AUDIO" if audio.source == "user" else ""
    profile = audio.name if audio.name in builtin_profiles() else f"{audio.name}.yaml"
    load = f"--streams {max(1, int(offered))}" if unit == "streams" else f"--rate {offered:.4g}"
    p95 = next((promise for promise in promises if promise.share == 0.95), None)
    slo = f" --slo p95_latency_s={p95.latency_s:g}" if p95 is not None else ""
    return f"autotune load http://HOST:8000 --audio-profile {profile}{own} {load} --duration 5m{slo}"
