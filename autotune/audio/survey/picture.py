"""A picture of a survey: how long the recordings are, and how much of them is speech."""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from autotune.audio.survey.measured import Survey
from autotune.errors import EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["check_can_draw", "draw_survey"]

_INK, _FAINT, _BAR, _LINE = "#1f2933", "#d9dee3", "#4c78a8", "#e45756"
_UNITS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))
_TICKS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_WIDE = 20.0
"""Longest over shortest, from which durations are drawn on a logarithmic scale."""


def check_can_draw() -> None:
    """Find out before measuring whether there will be a picture.

    Raises:
        EngineUnavailableError: matplotlib is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise EngineUnavailableError(
            'A picture needs matplotlib, which is not installed. Install it: pip install "funasr-autotune[plot]"'
        )


def draw_survey(survey: Survey) -> bytes:
    """The picture as PNG, 1600 × 640 pixels. Raises EngineUnavailableError without matplotlib."""
    check_can_draw()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    durations, shares = figure.subplots(1, 2)
    _durations(durations, survey)
    _shares(shares, survey)
    minutes = f"{survey.sampled_s / 60:.1f} of {survey.audio_s / 60:.1f} minutes listened to"
    files = f"{survey.files} recording{'' if survey.files == 1 else 's'}"
    figure.suptitle(f"{files}, {minutes}", x=0.01, ha="left", color=_INK, fontsize=11)
    layout: Any = figure.get_layout_engine()
    layout.set(w_pad=0.1, h_pad=0.08, wspace=0.06)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": "autotune"})
    return buffer.getvalue()


def _durations(axes: Any, survey: Survey) -> None:
    values = np.asarray(survey.durations_s)
    median = float(np.median(values))
    if values[-1] / values[0] >= _WIDE:
        axes.set_xscale("log")
        edges = np.geomspace(values[0] * 0.999, values[-1] * 1.001, _bins(values) + 1)
        ticks = [tick for tick in _TICKS_S if edges[0] <= tick <= edges[-1]]
        axes.set_xticks(ticks[:: -(-len(ticks) // 8)])
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter(lambda value, _: seconds_text(value))
        axes.set_xlabel("duration")
        unit_s = 1.0
    else:
        unit_s, unit = next((pair for pair in _UNITS if median >= 2 * pair[0]), _UNITS[-1])
        values = values / unit_s
        margin = max((values[-1] - values[0]) * 0.02, median / unit_s * 0.02)
        edges = np.linspace(values[0] - margin, values[-1] + margin, _bins(values) + 1)
        axes.set_xlabel(f"duration ({unit})")
    _histogram(axes, values, edges)
    _mark(axes, median / unit_s, f"median {seconds_text(median)}")


def _shares(axes: Any, survey: Survey) -> None:
    values = np.asarray(survey.speech_shares)
    _histogram(axes, values, np.linspace(0, 1, 21))
    _mark(axes, survey.speech_share, f"{survey.speech_share:.0%} of the audio")
    axes.set_xlabel("share of speech in a recording (Silero VAD)")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _histogram(axes: Any, values: np.ndarray[Any, Any], edges: np.ndarray[Any, Any]) -> None:
    axes.hist(values, bins=edges, color=_BAR, edgecolor="white", linewidth=0.6, zorder=2)
    axes.set_ylabel("recordings", color=_INK)
    axes.xaxis.label.set_color(_INK)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8, zorder=0)
    axes.tick_params(colors=_INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.margins(y=0.15)


def _mark(axes: Any, value: float, text: str) -> None:
    left, right = axes.get_xlim()
    axes.axvline(value, color=_LINE, linewidth=1.5, zorder=3)
    # On the side of the line with more room.
    inside = axes.transAxes.inverted().transform(axes.transData.transform((value, 0)))[0]
    offset, side = (4, "left") if inside < 0.5 else (-4, "right")
    axes.annotate(
        text,
        xy=(value, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(offset, -2),
        textcoords="offset points",
        ha=side,
        va="top",
        color=_LINE,
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
    )
    axes.set_xlim(left, right)


def _bins(values: Sequence[float] | np.ndarray[Any, Any]) -> int:
    return int(min(max(round(len(values) ** 0.5) * 2, 5), 40))


def seconds_text(value: float) -> str:
    """``0.5 s``, ``90 s``, ``10 min``, ``2 h``."""
    if value >= 7200:
        return f"{value / 3600:.3g} h"
    return f"{value / 60:.3g} min" if value >= 120 else f"{value:.3g} s"
