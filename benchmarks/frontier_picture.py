"""``docs/frontier.png``: RTFx of every row of every case, with its interval, and the GEMM bounds as lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.frontier_figures import CaseResult, Row, complete, digits, rtfx

__all__ = ["draw"]


COLOURS = {"autotune": "tab:blue", "peer": "tab:orange"}
BOUND_STYLES = {"fp32": ":", "bf16": "--", "int8": "-."}


def draw(cases: Sequence[CaseResult], path: Path) -> None:
    """One panel a case, models above one another, profiles side by side."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    models = list(dict.fromkeys(case["model"] for case in cases))
    profiles = list(dict.fromkeys(case["profile"] for case in cases))
    most = max(len(bars(case)) for case in cases)
    size = (8.0 * len(profiles), len(models) * (1.3 + 0.3 * most) + 0.6)
    figure, panels = plt.subplots(len(models), len(profiles), figsize=size, layout="constrained", squeeze=False)
    for panel in panels.flat:
        panel.set_visible(False)
    for case in cases:
        panel = panels[models.index(case["model"])][profiles.index(case["profile"])]
        panel.set_visible(True)
        draw_case(panel, case)
    hardware = " / ".join(dict.fromkeys(case["hardware"] for case in cases))
    figure.suptitle(f"Best knobs of every format × engine (blue) beside the peers (orange)\n{hardware}", fontsize=11)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def bars(case: CaseResult) -> list[Row]:
    return [row for row in complete(case) if row["kind"] in COLOURS]


def draw_case(panel: Any, case: CaseResult) -> None:
    from matplotlib import ticker

    rows = bars(case)[::-1]
    for place, row in enumerate(rows):
        found = rtfx(case, row)
        spread = [[found.median - found.low], [found.high - found.median]]
        colour = COLOURS[row["kind"]]
        panel.errorbar([found.median], [place], xerr=spread, fmt="o", color=colour, capsize=3, markersize=5)
        told = f"{digits(found.median)}  ·  {row['memory_bytes'] / 2**30:.2f} GiB"
        panel.annotate(told, (found.high, place), textcoords="offset points", xytext=(7, -3), fontsize=7.5)
    for row in complete(case):
        if row["kind"] == "bound":
            bound = rtfx(case, row).median
            panel.axvline(bound, color="grey", linestyle=BOUND_STYLES[row["precision"]], linewidth=1.2,
                          label=f"{row['name']}: {digits(bound)}")  # fmt: skip
    panel.set_yticks(range(len(rows)), [f"{row['name']}\n{row['knobs']}" for row in rows], fontsize=7.5)
    panel.set_ylim(-0.7, len(rows) - 0.3)
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    panel.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
    panel.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(ticker.NullFormatter())
    panel.set_xlim(low, high * (high / low) ** 0.15)  # room for the figures beside the last dots
    panel.set_xlabel("RTFx (log scale, faster →)")
    panel.set_title(f"{case['model']} on “{case['profile']}”", fontsize=10)
    panel.grid(alpha=0.3, which="both", axis="x")
    panel.legend(fontsize=7.5, loc="lower right")
