"""A picture of a plan: simulated latency of one machine against its load, and where the plan puts it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from autotune.audio.survey import check_can_draw
from autotune.errors import DocumentError
from autotune.planning.document import Plan

__all__ = ["draw_plan", "latency_axes", "latency_png"]

_INK, _FAINT, _LINE, _SLO, _CAPACITY, _POINT = "#1f2933", "#d9dee3", "#4c78a8", "#e45756", "#54a24b", "#f58518"


def latency_axes(load_label: str) -> Any:
    """Axes of a new figure, 1280 × 800 pixels: latency in seconds, on a logarithmic scale, against a load.

    Raises:
        EngineUnavailableError: matplotlib is missing.
    """
    check_can_draw()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = Figure(figsize=(8, 5), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    axes.set_yscale("log")
    axes.set_xlabel(load_label, color=_INK)
    axes.set_ylabel("latency (s)", color=_INK)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(lambda number, _: f"{number:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color=_FAINT, linewidth=0.8, zorder=0)
    axes.tick_params(colors=_INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def latency_png(axes: Any, title: str) -> bytes:
    """The figure of ``latency_axes`` as PNG, with its legend and a title."""
    axes.set_xlim(left=0)
    axes.legend(fontsize=8)
    axes.figure.suptitle(title, x=0.01, ha="left", color=_INK, fontsize=11)
    buffer = io.BytesIO()
    axes.figure.savefig(buffer, format="png", metadata={"Software": "autotune"})
    return buffer.getvalue()


def draw_plan(plan: Plan, measured: Sequence[tuple[float, float]] = ()) -> bytes:
    """The picture as PNG, 1280 × 800 pixels: p95 latency with its 90 % band, capacity with its own, the plan's load.

    Args:
        plan: with its curve.
        measured: load of one machine, and its p95 latency in seconds, of each run of a load test.

    Raises:
        DocumentError: the plan wasn't simulated.
        EngineUnavailableError: matplotlib is missing.
    """
    if plan.simulation is None:
        raise DocumentError(
            "--plot must have a simulated plan, but the formula knows no latency. Add service times first."
        )
    simulation = plan.simulation
    axes = latency_axes(f"load of one machine ({simulation.unit})")
    loads = [load for load, _ in simulation.curve]
    p95 = [estimate for _, estimate in simulation.curve]
    axes.fill_between(
        loads,
        [one.low for one in p95],
        [one.high for one in p95],
        color=_LINE,
        alpha=0.2,
        linewidth=0,
        label="90 % interval",
    )
    axes.plot(
        loads, [one.value for one in p95], color=_LINE, marker="o", markersize=4, linewidth=1.4, label="p95, simulated"
    )
    if measured:
        axes.scatter(*zip(*measured, strict=True), color=_INK, marker="x", s=36, label="p95, measured", zorder=4)
    for promise in plan.promises:
        axes.axhline(
            promise.latency_s, color=_SLO, linewidth=1.2, linestyle="--", label=f"promised: {promise.describe()}"
        )
    capacity = simulation.capacity
    axes.axvspan(capacity.low, capacity.high, color=_CAPACITY, alpha=0.15, linewidth=0)
    axes.axvline(
        capacity.value,
        color=_CAPACITY,
        linewidth=1.5,
        label=f"capacity of a machine: {capacity.value:.4g} {simulation.unit}",
    )
    each = simulation.load_per_replica
    axes.plot(
        [each],
        [simulation.latency_s.p95.value],
        marker="D",
        color=_POINT,
        markersize=8,
        linestyle="none",
        label=f"the plan: {each:.4g} {simulation.unit} on each of {plan.replicas}",
        zorder=5,
    )
    axes.set_ylim(top=max(10 * max(promise.latency_s for promise in plan.promises), 2 * simulation.latency_s.p95.high))
    title = f"{plan.replicas} machine{'s' if plan.replicas > 1 else ''} for {plan.demand.text}"
    return latency_png(axes, title)
