"""Elsewhere: what a measured deployment would do on hardware that isn't here, from its parts and both machines' rates.

A batch's seconds are those of matrix products and the rest. Products take as much less time elsewhere as its cores
multiply faster in the deployment's precision through the same engine, with as many of them busy; the rest as much less
as a fixed loop does. So what is predicted has the utilisation that was measured here. The scheduler on virtual time
makes wholes of it; what the measured whole had beyond its own simulation is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from autotune.deploy_yaml import DeploymentFile, HardwareRecord, IntervalRecord, LatencyRecord, PredictedRecord
from autotune.deployment import Deployment
from autotune.errors import CantPredictError
from autotune.planning.library import error_range
from autotune.probe.document import HardwareFile, Precision
from autotune.simulation.service_times import ServicePoint, ServiceTimes
from autotune.simulation.whole import whole_rtfx

__all__ = [
    "Tier",
    "elsewhere",
    "rated_engine",
    "rated_precision",
    "scaled_deployment",
    "scaled_times",
    "tier_of",
]

Tier = Literal["spec sheet", "probe", "probe and trials"]

USUAL_PRODUCTS = 0.8
"""Share of a batch's seconds in matrix products where it wasn't measured: of full-size models on CPUs with AVX-512."""
FARTHEST = 3.0
"""Doublings between two machines' rates of one core beyond which nothing was ever compared."""
_BASE_BYTES = 120 << 20
"""Of a process with a runtime and no model."""


def elsewhere(document: DeploymentFile, here: HardwareFile, there: HardwareFile) -> DeploymentFile:
    """The file as it would be on other hardware, marked ``predicted``.

    Args:
        document: with service times, measured on ``here``.
        here: a probe of the machine that the file was recorded on.
        there: the machine that is asked for.

    Raises:
        CantPredictError: nothing is promised across what differs between the machines; says what is missing.
    """
    deployment, times = document.deployment, document.service_times
    if times is None:
        raise CantPredictError(
            "Predictions rest on service times, but the file has none. Add them where it was recorded: "
            "autotune measure FILE --service-times."
        )
    if document.hardware.fingerprint != here.fingerprint:
        raise CantPredictError(
            f"The probe must be of the machine that the file was recorded on ({document.hardware.fingerprint}), but is "
            f"of {here.fingerprint}."
        )
    moved = scaled_deployment(deployment, here.hardware.usable_cores, there.hardware.usable_cores)
    faster = _times_as_fast(document, moved, here, there)
    predicted = _predicted(tier_of(deployment, here, there), here, there)
    measured = document.measurement
    latency = {name: value / faster for name, value in measured.latency_s.model_dump().items()}
    rtfx = _scaled(measured.rtfx, faster, predicted)
    base = document.baseline
    base_rtfx = _scaled(base.rtfx, _baseline_faster(document, here, there))
    speedup = IntervalRecord(
        median=rtfx.median / base_rtfx.median, low=rtfx.low / base_rtfx.high, high=rtfx.high / base_rtfx.low
    )
    whole = {
        "rtfx": rtfx,
        "latency_s": LatencyRecord(**latency),
        "peak_memory_bytes": _memory(document, moved),
    }
    return document.model_copy(
        update={
            "hardware": HardwareRecord.of(there.hardware),
            "deployment": moved,
            "measurement": measured.model_copy(update=whole),
            "baseline": base.model_copy(update={"rtfx": base_rtfx}),
            "speedup": None if document.speedup is None else speedup,
            "service_times": scaled_times(times, deployment, here, there),
            "predicted": predicted,
            "probe": None,
        }
    )


def _predicted(tier: Tier, here: HardwareFile, there: HardwareFile) -> PredictedRecord:
    errors = error_range(tier)
    return PredictedRecord(
        measured_on=here.fingerprint,
        tier=tier,
        spec_sheet=there.spec_sheet,
        machines=0 if errors is None else errors.machines,
        error_low=None if errors is None else errors.low,
        error_high=None if errors is None else errors.high,
        disturbances=(*here.disturbances, *there.disturbances),
    )


def _scaled(was: IntervalRecord, faster: float, predicted: PredictedRecord | None = None) -> IntervalRecord:
    """An RTFx there, its interval widened by the errors that such predictions have had."""
    low, high = (0.0, 0.0) if predicted is None else (predicted.error_low or 0.0, predicted.error_high or 0.0)
    # A prediction that was 10 % too high elsewhere stands for a truth that is a tenth lower here.
    return IntervalRecord(
        median=was.median * faster,
        low=was.low * faster / (1 + max(0.0, high)),
        high=was.high * faster / (1 + min(0.0, low)),
    )


def tier_of(deployment: Deployment, here: HardwareFile, there: HardwareFile) -> Tier:
    """How much is known of the other machine."""
    if there.spec_sheet is not None:
        return "spec sheet"
    return "probe and trials" if _trials(deployment, here, there) is not None else "probe"


def scaled_deployment(deployment: Deployment, cores_here: int, cores_there: int) -> Deployment:
    """The deployment with as many instances and readers for each core as it has here, and threads as here."""
    threads = min(deployment.intra_op_num_threads, cores_there)
    share = min(1.0, deployment.threads / cores_here)
    instances = max(1, round(share * cores_there / threads))
    readers = max(1, min(cores_there, round(deployment.readers * cores_there / cores_here)))
    return deployment.model_copy(update={"instances": instances, "intra_op_num_threads": threads, "readers": readers})


def scaled_times(times: ServiceTimes, deployment: Deployment, here: HardwareFile, there: HardwareFile) -> ServiceTimes:
    """Service times as they would be elsewhere.

    Raises:
        CantPredictError: see ``elsewhere``.
    """
    moved = scaled_deployment(deployment, here.hardware.usable_cores, there.hardware.usable_cores)
    precision = rated_precision(deployment)
    _check(deployment, precision, here, there)
    sides = [_Side(one, rated_engine(deployment), precision) for one in (here, there)]
    products = USUAL_PRODUCTS if times.products is None else times.products
    trials = _trials(deployment, here, there)
    threads = (deployment.intra_op_num_threads, moved.intra_op_num_threads)

    def longer(busy_here: int, busy_there: int) -> float:
        """Seconds there over seconds here, of a batch beside so many busy engines."""
        of_products, of_rest = (
            sides[0].speed(part, threads[0], busy_here) / sides[1].speed(part, threads[1], busy_there)
            for part in ("products", "rest")
        )
        return (products * of_products + (1 - products) * of_rest) / (trials or 1.0)

    def moved_point(point: ServicePoint, busy_there: int) -> ServicePoint:
        seconds = point.seconds * longer(point.busy, busy_there)
        return point.model_copy(update={"busy": busy_there, "seconds": seconds})

    alone = [point for point in times.points if point.busy == 1] or list(times.points)
    crowded = [point for point in times.points if point.busy == times.engines] or alone
    points = [moved_point(point, 1) for point in alone]
    if moved.instances > 1:
        points += [moved_point(point, moved.instances) for point in crowded]
    rest = sides[0].rest / sides[1].rest
    reading = {name: value * rest for name, value in times.reading.model_dump().items()}
    server = times.server
    if server is not None:
        server = server.model_copy(update={name: value * rest for name, value in server.model_dump().items()})
    return times.model_copy(
        update={
            "engines": moved.instances,
            "points": tuple(points),
            "reading": times.reading.model_copy(update=reading),
            "server": server,
            "carried": None,
        }
    )


@dataclass(frozen=True)
class _Side:
    """One machine's speeds for a deployment."""

    machine: HardwareFile
    engine: str
    precision: Precision

    @property
    def rest(self) -> float:
        """Speed of one core with what is no product, relative to other machines'."""
        assert self.machine.loop_s is not None
        return 1 / self.machine.loop_s

    def speed(self, part: str, threads: int, engines: int) -> float:
        """Of one engine while so many of them run: operations a second, or loops."""
        cores = self.machine.hardware.usable_cores
        if part == "rest":
            return threads * self.rest * min(1.0, cores / (threads * engines))
        busy = min(cores, threads * engines)
        one, every = (self.machine.rate(self.engine, self.precision, count) for count in (1, cores))
        assert one is not None
        each = one if every is None or cores == 1 else one + (every / cores - one) * (busy - 1) / (cores - 1)
        return threads * each * min(1.0, cores / (threads * engines))


def rated_engine(deployment: Deployment) -> str:
    """The engine whose rates in a hardware file are a deployment's."""
    return "pytorch" if deployment.engine in ("torchscript", "funasr") else deployment.engine


def rated_precision(deployment: Deployment) -> Precision:
    """What its matrix products are computed in."""
    if deployment.format in ("onnx-int8", "openvino-int8"):
        return "int8"
    options = deployment.session_options
    named = str(options.get("inference_precision", options.get("precision", "")))
    for precision in ("bf16", "fp16"):
        if deployment.format.endswith(precision) or named.startswith(precision):
            return precision
    return "fp32"


_UNITS: dict[Precision, tuple[str, ...]] = {
    "int8": ("amx_int8", "avx512_vnni", "avx_vnni", "neon_i8mm", "neon_dotprod", "avx512f", "avx2"),
    "bf16": ("amx_bf16", "avx512_bf16", "avx512f", "avx2"),
    "fp16": ("avx512_fp16", "avx512f", "avx2"),
    "fp32": ("avx512f", "avx2"),
}
"""Instruction sets by which kernels of a precision differ, the one that is used first."""


def _unit(machine: HardwareFile, precision: Precision) -> str:
    isa = machine.hardware.isa
    return next((unit for unit in _UNITS[precision] if unit in isa), machine.hardware.architecture)


def _check(deployment: Deployment, precision: Precision, here: HardwareFile, there: HardwareFile) -> None:
    if deployment.device != "cpu":
        raise CantPredictError(
            f"Nothing is known of how {deployment.device} compares with other GPUs. Measure on the other machine."
        )
    units = [_unit(one, precision) for one in (here, there)]
    if units[0] != units[1] and (precision == "int8" or there.spec_sheet is not None):
        why = "kernels for 8 bits are others there" if precision == "int8" else "and nobody has probed it"
        raise CantPredictError(
            f"{precision} runs on {units[0]} here and on {units[1]} there, {why}. "
            + ("Measure there, or plan with fp32." if precision == "int8" else "Probe it: autotune probe --out FILE.")
        )
    for name, one in (("here", here), ("there", there)):
        if one.loop_s is None:
            raise CantPredictError(f"The probe of the machine {name} is from before. Probe it again: autotune probe.")
        if one.rate(rated_engine(deployment), precision, 1) is None:
            skipped = one.skipped.get(rated_engine(deployment), "no such rate is in its file")
            raise CantPredictError(
                f"How fast {rated_engine(deployment)} multiplies in {precision} {name} isn't known: {skipped}."
            )
    rates = [one.rate(rated_engine(deployment), precision, 1) or 1.0 for one in (here, there)]
    if abs(math.log2(rates[1] / rates[0])) > FARTHEST:
        raise CantPredictError(
            f"A core multiplies {rates[1] / rates[0]:.2g} times as fast there in {precision}: no two machines that "
            "were compared lie so far apart. Measure there."
        )


def _trials(deployment: Deployment, here: HardwareFile, there: HardwareFile) -> float | None:
    """Measured over predicted RTFx of the reference deployment of the same engine and format; None without one."""
    found = []
    for one in (here, there):
        same = [
            reference
            for reference in one.references
            if (reference.engine, reference.format) == (deployment.engine, deployment.format)
        ]
        if not same:
            return None
        found.append(same[0])
    precision, engine = rated_precision(deployment), rated_engine(deployment)
    sides = [_Side(one, engine, precision) for one in (here, there)]
    times = [
        USUAL_PRODUCTS / side.speed("products", reference.threads, reference.instances) / reference.instances
        for side, reference in zip(sides, found, strict=True)
    ]
    rests = [
        1 / side.speed("rest", reference.threads, reference.instances) / reference.instances
        for side, reference in zip(sides, found, strict=True)
    ]
    predicted = 1 / (times[1] / times[0] * USUAL_PRODUCTS + rests[1] / rests[0] * (1 - USUAL_PRODUCTS))
    return found[1].rtfx / found[0].rtfx / predicted


def _times_as_fast(document: DeploymentFile, moved: Deployment, here: HardwareFile, there: HardwareFile) -> float:
    """RTFx there over RTFx here, both simulated."""
    times = document.service_times
    assert times is not None
    if not times.recordings:
        raise CantPredictError(
            "The file's service times hold no recordings. Measure them again: autotune measure FILE --service-times."
        )
    sides = (
        (document.deployment, times, here.hardware.usable_cores),
        (moved, scaled_times(times, document.deployment, here, there), there.hardware.usable_cores),
    )
    simulated = []
    for deployment, own, cores in sides:
        # Enough recordings that no core of the larger machine has nothing to do.
        count = max(1, math.ceil(4 * cores / len(times.recordings)))
        recordings = list(times.recordings) * count
        simulated.append(whole_rtfx(deployment, own, recordings, cores, speech_core_s=own.reading.chunk))
    return simulated[1] / simulated[0]


def _baseline_faster(document: DeploymentFile, here: HardwareFile, there: HardwareFile) -> float:
    """How many times as fast FunASR's own path would be: PyTorch in fp32, with its threads."""
    base = document.baseline.deployment
    sides = [_Side(one, "pytorch", "fp32") for one in (here, there)]
    if any(one.rate("pytorch", "fp32", 1) is None for one in (here, there)):
        return sides[1].rest / sides[0].rest
    faster = [
        sides[1].speed(part, base.threads, 1) / sides[0].speed(part, base.threads, 1) for part in ("products", "rest")
    ]
    return 1 / (USUAL_PRODUCTS / faster[0] + (1 - USUAL_PRODUCTS) / faster[1])


def _memory(document: DeploymentFile, moved: Deployment) -> int:
    """Peak memory with more or fewer instances: weights of those that don't share them, and what each computes with."""
    was = document.deployment
    weights = document.artifact.size_bytes if document.artifact is not None else 4 * document.model.parameters
    copies = [_copies(one) for one in (was, moved)]
    peak = document.measurement.peak_memory_bytes
    each = max(0.0, (peak - _BASE_BYTES - copies[0] * weights) / was.instances)
    if moved.instances == was.instances:
        return peak
    return round(min(peak, _BASE_BYTES) + copies[1] * weights + moved.instances * each)


def _copies(deployment: Deployment) -> int:
    """Of the weights: ONNX Runtime's sessions with threads of their own have one each, unless they are mapped."""
    if deployment.engine != "onnxruntime" or deployment.intra_op_num_threads == 1:
        return 1
    return 1 if deployment.session_options.get("mapped_weights") else deployment.instances
