"""``docs/regret.png``: true regret of what is recommended, against measurements and against charged time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.regret_gates import Curve

__all__ = ["COLOURS", "LABELS", "draw"]

LABELS = {
    "autotune": "autotune",
    "without-parts": "autotune without predicted wholes",
    "tpe": "Optuna's default TPE",
    "random": "random order",
    "brute": "brute force, in the space's order",
}
COLOURS = {
    "autotune": "tab:blue",
    "without-parts": "tab:green",
    "tpe": "tab:orange",
    "random": "tab:grey",
    "brute": "tab:red",
}


def draw(cases: Mapping[str, Mapping[str, Curve]], seeds: int, path: Path) -> None:
    """A row a table; the median as a line, the 90th percentile as a thin dashed one."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib import ticker

    figure, panels = plt.subplots(len(cases), 2, figsize=(12, 4.2 * len(cases)), layout="constrained", squeeze=False)
    for (name, curves), (left, right) in zip(cases.items(), panels, strict=True):
        for method, curve in curves.items():
            numbers = range(1, curve.most + 1)
            _line(left, method, numbers, curve)
            _line(right, method, [curve.charged(number) / 60 for number in numbers], curve)
        left.set_title(f"{name}: by measurements", fontsize=10)
        right.set_title(f"{name}: by charged time", fontsize=10)
        left.set_xlabel("measurements (log scale)")
        right.set_xlabel("minutes of measuring, median (log scale)")
        for panel in (left, right):
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
            panel.set_ylim(0, 100)
            panel.set_ylabel("regret, %")
            panel.axhline(5, color="black", linewidth=0.8, linestyle=":")
            panel.grid(alpha=0.3, which="both")
        left.legend(fontsize=8)
    figure.suptitle(
        f"True regret of the recommended deployment: median of {seeds} seeds, 90th percentile dashed", fontsize=11
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _line(panel: Any, method: str, places: Any, curve: Curve) -> None:
    colour, numbers = COLOURS[method], range(1, curve.most + 1)
    median = [100 * curve.regret(number, 0.5) for number in numbers]
    p90 = [100 * curve.regret(number, 0.9) for number in numbers]
    panel.step(places, median, where="post", color=colour, linewidth=1.8, label=LABELS[method])
    panel.step(places, p90, where="post", color=colour, linewidth=0.9, linestyle="--")
