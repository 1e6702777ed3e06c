"""What the parts of a recommended deployment take, and what follows: predicted against measured, latency under load."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.deploy_yaml import DeploymentFile
from autotune.errors import InfeasibleSloError
from autotune.planning.document import Estimate
from autotune.planning.options import Promise
from autotune.planning.sizing import FEW, Sizing
from autotune.report.plots import Drawn
from autotune.report.svg import Axis, Plot, Point, number
from autotune.simulation.server import LoadUnit
from autotune.simulation.whole import whole_rtfx

__all__ = ["Curve", "capacity_plot", "curve_of", "predicted_rtfx", "service_plot"]

_SIZES = 4
"""Batch sizes that are drawn."""
_PROMISED_S = 1.0
"""Seconds within which texts are promised where the file was tuned for no limit, as in ``carried``."""


def predicted_rtfx(document: DeploymentFile) -> float | None:
    """RTFx of the whole by simulation from its parts; None without them, and where recordings come by themselves."""
    times, deployment, arrival = document.service_times, document.deployment, document.audio_profile.arrival
    if times is None or not times.recordings or arrival not in ("offline", "closed"):
        return None
    cores, speech_core_s = document.hardware.usable_cores, times.reading.chunk
    return whole_rtfx(deployment, times, times.recordings, cores, speech_core_s=speech_core_s, arrival=arrival)


def service_plot(document: DeploymentFile) -> Drawn | None:
    """Seconds of a batch by its length and rows; None without service times."""
    times = document.service_times
    if times is None:
        return None
    sizes = sorted({point.size for point in times.points})
    shown = (
        sizes if len(sizes) <= _SIZES else [sizes[round(i * (len(sizes) - 1) / (_SIZES - 1))] for i in range(_SIZES)]
    )
    points = [point for point in times.points if point.size in shown]
    plot = Plot(
        "service",
        "Seconds that a batch takes, by the length of its rows and their number",
        Axis.over("seconds of each row, padding included", [point.padded_s for point in points], log=True),
        Axis.over("seconds of the batch", [point.seconds for point in points], log=True),
    )
    legend: list[tuple[str, str]] = []
    for index, size in enumerate(shown):
        kind = f"c{index + 1}"
        legend.append((kind, f"{size} row{'s' if size > 1 else ''}"))
        for busy in sorted({point.busy for point in points}):
            own = sorted(
                (one.padded_s, one.seconds, one.count) for one in points if (one.size, one.busy) == (size, busy)
            )
            plot.line([(padded_s, seconds) for padded_s, seconds, _ in own], f"{kind}{' dashed' if busy > 1 else ''}")
            plot.points(
                [
                    Point(
                        padded_s,
                        seconds,
                        f"{size} × {padded_s:g} s, {busy} busy: {seconds:.3g} s ({count} batches)",
                        kind,
                        3,
                    )
                    for padded_s, seconds, count in own
                ]
            )
    dashed = f" Dashed: all {times.engines} engines busy." if times.engines > 1 else ""
    return Drawn(plot, f"Medians of batches that were timed shape by shape.{dashed}", tuple(legend))


@dataclass(frozen=True)
class Curve:
    """p95 latency of one server against its load, simulated."""

    unit: LoadUnit
    promise: Promise
    capacity: Estimate
    audio_s_per_s: float
    """Seconds of audio a second of one unit of load."""
    points: tuple[tuple[float, Estimate], ...]


def curve_of(document: DeploymentFile, *, requests: int = FEW) -> Curve | None:
    """Simulate one server under loads up to its capacity; None where parts are missing or nothing keeps the promise."""
    times = document.service_times
    unit: LoadUnit = "streams" if document.audio_profile.arrival == "realtime" else "requests/s"
    if times is None or document.deployment.engine == "funasr":
        return None
    if not (times.spoken if unit == "streams" else times.recordings):
        return None
    promise = Promise(share=0.95, latency_s=document.goal.p95_latency_s or _PROMISED_S)
    sizing = Sizing.of(document, unit, (promise,), requests=requests)
    try:
        sizing.alone_s()
    except InfeasibleSloError:
        return None
    capacity = sizing.capacity()
    if capacity.value <= 0:
        return None
    audio_s_per_s = 1.0 if unit == "streams" else sizing.servers.mean_s(unit)
    return Curve(unit, promise, capacity, audio_s_per_s, sizing.curve(capacity))


def capacity_plot(curve: Curve) -> Drawn:
    """The curve with its 90 % interval, the promise and the capacity."""
    seconds = [max(value, 1e-4) for _, one in curve.points for value in (one.low, one.value, one.high)]
    top = min(max(seconds), 10 * curve.promise.latency_s)
    plot = Plot(
        "capacity",
        "Simulated p95 latency of one server against its load",
        Axis(f"load of one server, {curve.unit}", 0.0, 1.06 * curve.points[-1][0]),
        Axis.over("p95 latency, seconds", [min(seconds), top, curve.promise.latency_s], log=True),
    )
    plot.band([(load, one.low, one.high) for load, one in curve.points], "c1")
    plot.line([(load, one.value) for load, one in curve.points], "c1")
    plot.points(
        [
            Point(load, one.value, f"{number(load)} {curve.unit}: {one.value:.3g} s", "c1", 3)
            for load, one in curve.points
        ]
    )
    plot.horizontal(curve.promise.latency_s, curve.promise.describe(), "limit")
    plot.vertical(curve.capacity.value, f"capacity {number(curve.capacity.value)}", "axis")
    low, high = number(curve.capacity.low), number(curve.capacity.high)
    caption = (
        f"Simulated from the parts by the server's own scheduler, not measured: one server carries "
        f"{number(curve.capacity.value)} ({low}–{high}, 90 % interval) {curve.unit} within {curve.promise.describe()}. "
        "The band is the 90 % interval."
    )
    return Drawn(plot, caption)
