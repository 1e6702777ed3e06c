"""A picture of a report: latency percentiles against load."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from autotune.loadgen.document import LoadReport, LoadRun
from autotune.planning.picture import latency_axes, latency_png

__all__ = ["draw_load"]

_SLO, _CAPACITY = "#e45756", "#54a24b"
_LINES: tuple[tuple[str, str, Callable[[LoadRun], float | None]], ...] = (
    ("p50", "#9ecae9", lambda run: run.figures.latency_s.p50),
    ("p95", "#4c78a8", lambda run: run.figures.latency_s.p95),
    ("p99", "#b279a2", lambda run: run.figures.latency_s.p99),
)
_LEAST_S = 1e-3
"""Seconds at which shorter latencies are drawn: the scale is logarithmic."""


def draw_load(report: LoadReport) -> bytes:
    """The picture as PNG, 1280 × 800 pixels.

    Filled marks are VALID runs, hollow ones INVALID, and lines go through the medians of runs at one load; a triangle
    at the top means that so many requests got no text.

    Raises:
        EngineUnavailableError: matplotlib is missing.
    """
    axes = latency_axes(f"load ({report.unit})")
    runs = sorted(report.runs, key=lambda run: run.load)
    for name, colour, value in _LINES:
        _percentile(axes, runs, (name, colour, value))
    if report.p95_latency_s is not None:
        promised = f"promised: p95 ≤ {report.p95_latency_s:g} s"
        axes.axhline(report.p95_latency_s, color=_SLO, linewidth=1.2, linestyle="--", label=promised)
    if report.capacity is not None and report.capacity.load is not None:
        label = f"capacity: {report.capacity.load:.4g} {report.unit}"
        axes.axvline(report.capacity.load, color=_CAPACITY, linewidth=1.5, label=label)
    title = f"{report.url}, {report.audio.profile}: {report.verdict}"
    return latency_png(axes, title)


def _percentile(axes: Any, runs: list[LoadRun], line: tuple[str, str, Callable[[LoadRun], float | None]]) -> None:
    name, colour, value = line
    seconds: dict[float, list[float]] = {}
    for run in runs:
        latency_s = value(run)
        if latency_s is None:
            axes.scatter(run.load, 1.0, marker="^", s=30, color=colour, transform=axes.get_xaxis_transform())
            continue
        seconds.setdefault(run.load, []).append(max(latency_s, _LEAST_S))
        face = colour if run.verdict == "VALID" else "white"
        axes.scatter(run.load, seconds[run.load][-1], s=26, facecolors=face, edgecolors=colour, zorder=3)
    middles = [median(values) for values in seconds.values()]
    axes.plot(list(seconds), middles, color=colour, linewidth=1.2, zorder=2)
    axes.plot([], [], color=colour, marker="o", markersize=5, label=name)
