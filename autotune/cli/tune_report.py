"""What ``autotune tune`` says at its end: the table, the guard's words, and the same as JSON."""

from __future__ import annotations

import shlex
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autotune.accuracy import Accuracy, describe_accuracy
from autotune.cli.terminal import natural_width, stdout_console
from autotune.deployment import told_apart
from autotune.jobs.tune import SharedPart, TuneResult
from autotune.jobs.tune_record import cer_record
from autotune.proof.held_back import HeldBack
from autotune.report.figures import (
    COLUMNS,
    SEARCH_COLUMNS,
    Row,
    failure_groups,
    noticed,
    rate_name,
    rows_of,
    search_rows,
)
from autotune.reporting import bytes_text
from autotune.study.candidates import Candidate

__all__ = ["print_report", "print_search", "print_shared", "report_json", "shared_json"]

SHOWN = 3
"""Held-back deployments that are shown; ``--json`` has all."""
FRONT = 6
"""Deployments of the Pareto front that are shown; ``--json`` has all."""


def report_json(result: TuneResult) -> dict[str, Any]:
    """The document, and everything that the study and the guard know."""
    study = result.study
    return {
        **result.document.to_json(),
        "out": str(result.out.resolve()),
        "wall_s": result.wall_s,
        "interrupted": study.interrupted,
        "study": result.storage,
        "split_s": result.split_s,
        "ended": "exhausted" if study.exhausted else "early" if study.early else "budget",
        "pareto": [_candidate_json(candidate) for candidate in study.pareto],
        "held_back": [_held_back_json(held) for held in result.held_back],
        "trials": [
            {
                "number": trial.number,
                "role": trial.role,
                "state": trial.state,
                "deployment": trial.deployment.model_dump(mode="json"),
                "node": trial.node,
                "rtfx": trial.measurement.rtfx if trial.measurement else None,
                "predicted_rtfx": trial.predicted_score,
                "anchor": trial.anchor,
                "verdict": trial.measurement.verdict if trial.measurement else None,
                "accuracy": _accuracy_json(trial.measurement.accuracy) if trial.measurement else None,
                "kind": trial.kind,
                "reason": trial.reason,
                "wall_s": trial.wall_s,
            }
            for trial in study.trials
        ],
    }


def print_report(result: TuneResult, console: Console | None = None) -> None:
    """The table of baseline, winner and runner-up, what the guard held back, and what can be done next.

    Args:
        result: of the study.
        console: where to; by default stdout.
    """
    console = console or stdout_console()
    document, comparison = result.document, result.comparison
    model, audio = document.model, document.audio_profile
    _say(
        console,
        f"\n{model.id} · {audio.name} · {audio.audio_s:.0f} s of audio · {comparison.blocks} interleaved blocks",
    )
    rows = rows_of(document, comparison)
    table = _table(rows, wide=True)
    if natural_width(console, table) > console.width:
        table = _table(rows, wide=False)
    console.print(table)
    names = told_apart(row.deployment for row in rows)
    for row in rows:
        _say(console, f"  {row.name}: {names[row.deployment]}")
    _print_accuracy(result, console)
    for held in result.held_back[:SHOWN]:
        _print_held_back(held, console)
    if len(result.held_back) > SHOWN:
        _say(console, f"… and {len(result.held_back) - SHOWN} more faster ones held back; --json lists all.")
    _print_front(result, console)
    _print_failures(result, console)
    if comparison.nothing_is_faster:
        _say(console, f"{document.reason} The file holds the baseline.")
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.split_s.items())
    _say(console, f"Written to {result.out} after {result.wall_s:.0f} s ({spent}). Next:")
    file = shlex.quote(str(result.out))
    _say(console, f"  autotune serve {file}")
    _say(console, f'  autotune plan {file} --demand "5000 audio-hours/day"')
    _say(console, f"  autotune render {file} --target kubernetes --set image=YOUR_IMAGE")


def _say(console: Console, line: str) -> None:
    """A line as it is: brackets in names are no markup, and a path is copied whole."""
    console.print(line, markup=False, soft_wrap=True)


def print_search(result: TuneResult, console: Console | None = None) -> None:
    """What was measured, in that order: why, what was predicted, and what came of it."""
    console = console or stdout_console()
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for column in SEARCH_COLUMNS:
        table.add_column(column, overflow="fold")
    for row in search_rows(result.study):
        table.add_row(*map(Text, row))
    console.print(table)


def print_shared(part: SharedPart) -> None:
    """What a machine says whose part of a shared study is over."""
    print(
        f"The trials of the study are spent: {len(part.study.trials)} in {part.storage}. {part.node} compares the "
        "finalists and writes the file; this machine is done."
    )


def shared_json(part: SharedPart) -> dict[str, Any]:
    """The facts of ``print_shared`` as JSON values."""
    return {"study": part.storage, "trials": len(part.study.trials), "finalists_on": part.node, "wall_s": part.wall_s}


def _table(rows: list[Row], *, wide: bool) -> Table:
    """Narrow: RTFx without its interval, and columns close together."""
    table = Table(box=box.SIMPLE, padding=(0, 1) if wide else 0)
    for column in ("", *COLUMNS):
        shown = rate_name(rows) if column == "errors" else column
        table.add_column(shown if wide else shown.replace("RTFx (95 %)", "RTFx"), no_wrap=True)
    for row in rows:
        table.add_row(row.name, *row.cells(wide=wide))
    return table


def _print_accuracy(result: TuneResult, console: Console) -> None:
    measured = result.document.measurement
    verdict = result.comparison.winner.verdict
    if verdict is None:
        why = " (random weights)" if result.document.model.weights == "random" else ""
        _say(console, f"  accuracy: {measured.accuracy}{why}")
        return
    exempt = "; the baseline is exempt" if result.comparison.nothing_is_faster else ""
    _say(console, f"  accuracy: {verdict.describe()}{exempt}")
    audio = result.document.audio_profile
    _say(console, f"  {noticed(verdict, audio.hearing_s or audio.audio_s)}")


def _print_held_back(held: HeldBack, console: Console) -> None:
    _say(console, held.line())
    if held.verdict is None or not held.inaccurate:
        return
    without = held.verdict.accuracy.unit == "disagreement"
    for text in held.verdict.accuracy.worst:
        lines = [("reference" if without else "said", text.expected), ("this deployment", text.got)]
        if not without:
            lines.append((held.verdict.accuracy.reference_name, text.reference_got))
        _say(console, f"    {text.clip}:")
        for name, words in lines:
            _say(console, f"      {name + ':':17}{words or '(nothing)'}")


def _print_failures(result: TuneResult, console: Console) -> None:
    """Every failure; deployments that failed alike share a line."""
    for group in failure_groups(result.study):
        _say(console, f"failed: {group.why}"[:400])
        for deployment in group.deployments:
            _say(console, f"    {deployment}")


def _print_front(result: TuneResult, console: Console) -> None:
    """What else could be had: nothing where one deployment is best in everything."""
    front = result.study.pareto
    if len(front) < 2:
        return
    _say(console, "Pareto front of the trials (not proven in blocks):")
    names = told_apart(one.deployment for one in front[:FRONT])
    for one in front[:FRONT]:
        figures = one.pooled
        _say(
            console,
            f"    RTFx {figures.rtfx:.1f}, p95 {figures.p95_latency_s:.3g} s, {bytes_text(figures.peak_memory_bytes)}: "
            f"{names[one.deployment]}",
        )
    if len(front) > FRONT:
        _say(console, f"    … and {len(front) - FRONT} more; --json lists all.")


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "deployment": candidate.deployment.model_dump(mode="json"),
        "rtfx": candidate.pooled.rtfx,
        "p95_latency_s": candidate.pooled.p95_latency_s,
        "peak_memory_bytes": candidate.pooled.peak_memory_bytes,
        "trials": [trial.number for trial in candidate.trials],
    }


def _held_back_json(held: HeldBack) -> dict[str, Any]:
    record = cer_record(held.verdict)
    return {
        "deployment": held.deployment.model_dump(mode="json"),
        "rtfx": held.rtfx,
        "cer": None if record is None else record.model_dump(mode="json"),
        "limits": [limit.describe() for limit in held.limits],
        "worst": [text.model_dump(mode="json") for text in held.verdict.accuracy.worst] if held.verdict else [],
    }


def _accuracy_json(accuracy: Accuracy | None) -> dict[str, Any] | None:
    if accuracy is None:
        return None
    return {
        **accuracy.model_dump(mode="json"),
        "rate": accuracy.rate,
        "reference": accuracy.reference_rate,
        "increase": accuracy.increase,
        "baseline": accuracy.baseline_rate,
        "baseline_increase": accuracy.baseline_increase,
        "summary": describe_accuracy(accuracy),
    }
