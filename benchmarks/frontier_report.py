"""The measured part of ``docs/frontier.md``: a table for each case, and what the winner is beside the goals."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from autotune.intervals import Interval
from benchmarks.frontier_figures import (
    CaseResult,
    Row,
    accurate,
    beside_engine,
    complete,
    digits,
    judged_by,
    named,
    ratio,
    rtfx,
    share_of_bound,
    stages,
    winner,
)
from benchmarks.published import publish

__all__ = ["write_document"]


BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
LINKS = "![RTFx of every row](frontier.png)\n\n[Raw figures](benchmarks/frontier.json)"


def write_document(cases: Sequence[CaseResult], path: Path) -> None:
    measured = "\n\n".join([LINKS, *("\n".join(case_lines(case, cases)) for case in cases)])
    publish(path, BEGIN, END, measured)


def case_lines(case: CaseResult, cases: Sequence[CaseResult]) -> Iterator[str]:
    yield f"### {case['model']} on “{case['profile']}”"
    yield ""
    yield setting(case)
    yield ""
    titles = ["", "best knobs", "RTFx (95 %)", "memory", accuracy_title(case)]
    yield line([*titles, "engine of its GEMM bound", "beside the engine"])
    yield "|---|---|---|---|---|---|---|"
    best = winner(case, cases)
    for row in complete(case):
        yield table_line(case, row, bold=row is best)
    yield ""
    if best is not None:
        yield from goal_lines(case, cases, best)
        yield ""
        yield stage_line(case, best)
    yield from failure_lines(case)


def setting(case: CaseResult) -> str:
    versions = case["versions"]
    tools = ", ".join([f"{name} {versions[name]}" for name in versions if name not in ("peers", "python")])
    audio_s = sum(case["round_audio_s"]) / case["rounds"]
    return (
        f"{case['hardware']}; {case['date']}; {tools}, {', '.join(versions['peers'])}. {case['rounds']} rounds of "
        f"{audio_s:.0f} s in {case['segments'][1]} segments; knobs chosen on {case['choose_audio_s']:.0f} s of other "
        f"audio. Linear layers: {case['flop_per_audio_s'] / 1e9:.3g} GFLOP for each second of audio."
    )


def accuracy_title(case: CaseResult) -> str:
    accuracy = case["accuracy"]
    if accuracy["unit"] == "disagreement":
        return f"{accuracy['tokens']} equal to fp32 PyTorch's"
    return f"{accuracy['unit'].upper()} (fp32 PyTorch {100 * accuracy['reference']:.2f} %)"


def table_line(case: CaseResult, row: Row, *, bold: bool) -> str:
    mark = "**" if bold else ""
    cells = [f"{mark}{row['name']}{mark}", row["knobs"], figure(rtfx(case, row))]
    if row["kind"] == "bound":
        return line([*cells, "", "", "", ""])
    cells += [f"{row['memory_bytes'] / 2**30:.2f} GiB", accuracy_cell(case, row)]
    if row["kind"] == "peer":
        return line([*cells, "", ""])
    share = share_of_bound(case, row)
    return line([*cells, "" if share is None else f"{share.median:.0%}", f"{beside_engine(case, row):.0%}"])


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def accuracy_cell(case: CaseResult, row: Row) -> str:
    rate, low, high = (100 * value for value in row["accuracy"]["rate"])
    if case["accuracy"]["unit"] == "disagreement":
        return f"{100 - rate:.1f} %"
    return f"{rate:.2f} % ({max(0.0, low):.2f}–{high:.2f})"


GOALS = (
    ("amx_bf16", {"AutoModel": 6.0, "funasr_onnx int8": 3.5, "bf16": 80.0}),
    ("avx512_vnni", {"funasr_onnx int8": 2.0, "int8": 80.0}),
)
"""What a CPU has → goals for two of its cores on “long”: × a peer, and % of the GEMM bound of a precision."""
MOST_BESIDE = 15.0
"""Goal for everything but the engine, % of the core-seconds, on any CPU."""


def goal_lines(case: CaseResult, cases: Sequence[CaseResult], best: Row) -> Iterator[str]:
    yield f"Fastest accurate row: **{best['name']}** ({best['knobs']}; {why_accurate(case, cases, best)})."
    yield ""
    goals = goals_of(case)
    for name in (f"AutoModel ncpu={case['usable_cores']}", "funasr_onnx int8"):
        if other := named(case, name):
            found = ratio(case, best, other)
            yield f"- against {name}: {figure(found, ' ×')}{verdict(found, goals.get(name.partition(' ncpu')[0]), '×')}"
    told_of = [
        best,
        *(row for row in [nearest_bound(case, precision) for precision in goals] if row not in (None, best)),
    ]
    for row in told_of:
        if share := share_of_bound(case, row):
            percent = Interval(*(100 * end for end in (share.median, share.low, share.high)))
            told = f"engine of {row['name']} as a share of its {row['precision']} GEMM bound"
            yield f"- {told}: {figure(percent, ' %')}{verdict(percent, goals.get(row['precision']), '%')}"
    rest = 100 * beside_engine(case, best)
    met = "met" if rest <= MOST_BESIDE else "missed"
    yield f"- everything but the engine, of the core-seconds: {digits(rest)} %; goal ≤{MOST_BESIDE:g} %: {met}"


def nearest_bound(case: CaseResult, precision: str) -> Row | None:
    """The row of a precision whose engine comes nearest to the bound; None where there is none."""
    rows = [row for row in complete(case) if row["kind"] == "autotune" and row["precision"] == precision]
    shares = [(share.median, number) for number, row in enumerate(rows) if (share := share_of_bound(case, row))]
    return rows[max(shares)[1]] if shares else None


def goals_of(case: CaseResult) -> dict[str, float]:
    """The goals for this CPU, if there are any."""
    if case["usable_cores"] != 2 or case["profile"] != "long":
        return {}
    return next((goals for needed, goals in GOALS if needed in case["isa"]), {})


def verdict(found: Interval, goal: float | None, unit: str) -> str:
    """Whether the goal is met, where there is one."""
    return "" if goal is None else f"; goal ≥{goal:g} {unit}: {'met' if found.median >= goal else 'missed'}"


def why_accurate(case: CaseResult, cases: Sequence[CaseResult], best: Row) -> str:
    judging = judged_by(case, cases)
    if accurate(best, judging) is None:
        return "accuracy not measured: random weights, and the embedded model hasn't been measured on this profile"
    own = "" if judging is case else " of the embedded model"
    return f"the error rate{own} is at most 0.5 points above fp32 PyTorch's"


def stage_line(case: CaseResult, row: Row) -> str:
    spent = stages(case, row)
    total = sum(spent.values())
    told = ", ".join(f"{stage} {1000 * value:.2f} ({value / total:.1%})" for stage, value in spent.items())
    return f"Its stages, in core-milliseconds for each second of audio: {told}."


def failure_lines(case: CaseResult) -> Iterator[str]:
    failures = [f"- {row['name']}: {row['error']}" for row in case["rows"] if row["error"]]
    failures += [
        f"- {row['name']}, {tried['knobs']}: {tried['error']}"
        for row in case["rows"]
        for tried in row["tried"]
        if tried["error"] and not row["error"]
    ]
    if failures:
        yield from ("", "Failed:", "", *failures)


def figure(found: Interval, unit: str = "") -> str:
    """Three digits, with the interval where there is one."""
    if found.low == found.high:
        return f"{digits(found.median)}{unit}"
    return f"{digits(found.median)}{unit} ({digits(found.low)}–{digits(found.high)})"
