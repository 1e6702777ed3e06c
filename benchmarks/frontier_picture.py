"""``docs/frontier.png``: RTFx of every row of every case, with its interval, and the GEMM bounds as lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.frontier_figures import CaseResult, Row, complete, rtfx

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
    figure.savefig(path, dpi=130)
    plt.close(figure)


def bars(case: CaseResult) -> list[Row]:
    return [row for row in complete(case) if row["kind"] in COLOURS]


def draw_case(panel: Any, case: CaseResult) -> None:
    rows = bars(case)[::-1]
    for place, row in enumerate(rows):
        found = rtfx(case, row)
        spread = [[found.median - found.low], [found.high - found.median]]
        colour = COLOURS[row["kind"]]
        panel.errorbar([found.median], [place], xerr=spread, fmt="o", color=colour, capsize=3, markersize=5)
        told = f"{found.median:.3g}  ·  {row['memory_bytes'] / 2**30:.2g} GiB"
        panel.annotate(told, (found.high, place), textcoords="offset points", xytext=(7, -3), fontsize=7.5)
    for row in complete(case):
        if row["kind"] == "bound":
            bound = rtfx(case, row).median
            panel.axvline(bound, color="grey", linestyle=BOUND_STYLES[row["precision"]], linewidth=1.2,
                          label=f"{row['name']}: {bound:.3g}")  # fmt: skip
    panel.set_yticks(range(len(rows)), [f"{row['name']}\n{row['knobs']}" for row in rows], fontsize=7.5)
    panel.set_ylim(-0.7, len(rows) - 0.3)
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    panel.set_xlim(low, high * (high / low) ** 0.12)  # room for the figures beside the last dots
    panel.set_xlabel("RTFx (log scale, faster →)")
    panel.set_title(f"{case['model']} on “{case['profile']}”", fontsize=10)
    panel.grid(alpha=0.3, which="both", axis="x")
    panel.legend(fontsize=7.5, loc="lower right")
