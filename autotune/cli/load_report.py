"""What ``autotune load`` says at its end: the verdict, the table, and what follows from them."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from autotune.cli.terminal import natural_width, stdout_console
from autotune.loadgen.document import LoadReport, LoadRun

__all__ = ["miss_text", "print_report"]

PROCESSES = {"poisson": "Poisson arrivals", "streams": "spoken in real time", "trace": "arrivals of a trace"}


def print_report(report: LoadReport, console: Console | None = None) -> None:
    """The verdict with its reasons, one line a run, and the capacity.

    Args:
        report: what was measured.
        console: where to; by default stdout.
    """
    console = console or stdout_console()
    audio = report.audio
    promised = "nothing promised" if report.p95_latency_s is None else f"promised p95 ≤ {report.p95_latency_s:g} s"
    console.print(
        f"\n{report.url} · {audio.profile}, {audio.recordings} recordings, seed {audio.seed} · "
        f"{PROCESSES[report.process]} · {promised}",
        markup=False,
        soft_wrap=True,
    )
    table = _table(report)
    console.print(table, width=max(natural_width(console, table), console.width), crop=False)
    console.print(f"{report.verdict}{':' if report.reasons else ''}")
    for reason in report.reasons:
        console.print(f"  {reason.text}", markup=False, soft_wrap=True)
    for line in _answers(report):
        console.print(line, markup=False, soft_wrap=True)


def miss_text(report: LoadReport) -> str:
    """Why the answer is no, in one sentence."""
    promised = f"p95 ≤ {report.p95_latency_s:g} s"
    if report.capacity is None:
        run = report.runs[-1]
        over, count = run.figures.over_latency, run.figures.requests
        p95 = _seconds(run.figures.latency_s.p95)
        return f"{promised} must be kept, but p95 is {p95} ({over} of {count} requests were late)."
    least = min(report.runs, key=lambda run: run.load)
    p95 = _seconds(least.figures.latency_s.p95)
    return f"No load keeps {promised}: at {least.load:.4g} {report.unit}, the least that was tried, p95 is {p95}."


def _answers(report: LoadReport) -> list[str]:
    lines = []
    capacity = report.capacity
    if capacity is not None and capacity.load is not None:
        most = "at least " if capacity.ended in ("unbounded", "client") else ""
        audio = [run.figures.offered_audio_s_per_s for run in report.runs if run.load == capacity.load]
        lines.append(
            f"Capacity: {most}{capacity.load:.4g} {report.unit} ({sum(audio) / len(audio):.1f} s of audio a second) "
            f"within p95 ≤ {report.p95_latency_s:g} s"
            + ("" if capacity.above is None or most else f"; {capacity.above:.4g} did not keep it")
            + "."
        )
    last = report.runs[-1]
    if last.texts is not None and len(report.runs) == 1:
        texts = last.texts
        name = _rate_name(last)
        lines.append(
            f"{name} under load {texts.rate:.2%} ({texts.low:.2%} to {texts.high:.2%}) over {texts.texts} texts; "
            f"{texts.differing} recordings did not get the same text every time."
        )
    if report.local:
        cores = max(run.figures.client_cores for run in report.runs)
        lines.append(f"Client and server share this machine: up to {cores:.2f} of its cores went to the client.")
    return lines


def _table(report: LoadReport) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1))
    rate = _rate_name(report.runs[0])
    load = "streams" if report.process == "streams" else "req/s"
    columns = [load, "for", "audio s/s", "p50", "p95", "at most", "p99", "goodput/s", "no text", rate, ""]
    for column in columns:
        table.add_column(column, justify="left" if not column else "right", no_wrap=True)
    for run in report.runs:
        table.add_row(*_row(run))
    return table


def _row(run: LoadRun) -> list[str]:
    found = run.figures
    without = found.requests - found.ok
    return [
        f"{run.load:.4g}",
        f"{run.period_s:.0f} s",
        f"{found.offered_audio_s_per_s:.1f}",
        _seconds(found.latency_s.p50),
        _seconds(found.latency_s.p95),
        _bound(run),
        _seconds(found.latency_s.p99),
        f"{found.goodput_rate:.4g}",
        f"{without}/{found.requests}",
        "–" if run.texts is None else f"{run.texts.rate:.2%}",
        run.verdict if found.promise is None else f"{run.verdict}, {found.promise}",
    ]


def _bound(run: LoadRun) -> str:
    bound_s = run.figures.latency_at_most_s.p95
    return "–" if bound_s is None else _seconds(bound_s)


def _seconds(value_s: float | None) -> str:
    if value_s is None:
        return "never"
    return f"{value_s:.3g} s" if value_s >= 0.9995 else f"{1000 * value_s:.0f} ms"


def _rate_name(run: LoadRun) -> str:
    return "WER" if run.texts is not None and run.texts.tokens == "words" else "CER"
