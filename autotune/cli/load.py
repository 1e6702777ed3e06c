"""``autotune load``: what users of a server see under load, and how much load it takes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli.options import JsonOption, command_line, with_options
from autotune.loadgen.options import LoadOptions

if TYPE_CHECKING:
    from autotune.loadgen.document import LoadReport

__all__ = ["load"]


@with_options
def load(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="http(s)://HOST:PORT of `autotune serve` or another OpenAI-compatible server, or ws(s)://HOST:PORT of "
            "one that speaks FunASR's protocol.",
        ),
    ],
    options: LoadOptions,
    out: Annotated[Path | None, typer.Option(help="Write the report as JSON, every request included.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw latency against load as a PNG picture; needs the extra [plot].")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Load a server with an audio profile's recordings: measure latency, or the highest load that keeps the SLO.

    The exit status is 3 if the SLO is not kept, and 1 if the figures are INVALID. Ctrl-C ends the run and reports what
    was measured so far.
    """
    from autotune.audio.survey import check_can_draw
    from autotune.cli.terminal import TerminalReporter
    from autotune.files import check_writable
    from autotune.loadgen.job import load_server

    for path in (out, plot):
        if path is not None:
            check_writable(path)
    if plot is not None:
        check_can_draw()
    try:
        with TerminalReporter() as reporter:
            report = load_server(url, replace(options, command=command_line()), reporter)
    except KeyboardInterrupt:
        print("autotune: stopped before anything was answered: nothing can be said.", file=sys.stderr)
        raise SystemExit(130) from None
    _keep(report, out, plot)
    _tell(report, json_=json_)


def _keep(report: LoadReport, out: Path | None, plot: Path | None) -> None:
    import json

    from autotune.files import write_output
    from autotune.loadgen.picture import draw_load

    if out is not None:
        write_output(out, json.dumps(report.to_json(), ensure_ascii=False).encode() + b"\n")
    if plot is not None:
        write_output(plot, draw_load(report))


def _tell(report: LoadReport, *, json_: bool) -> None:
    """Print the report; raises InfeasibleSloError where the answer is no, LoadError where there is none."""
    import json

    from autotune.cli.load_report import miss_text, print_report
    from autotune.errors import InfeasibleSloError, LoadError

    if json_:
        print(json.dumps(report.to_json()))
    else:
        print_report(report)
    if report.interrupted:
        raise SystemExit(130)
    if report.answer == "no":
        raise InfeasibleSloError(miss_text(report))
    if report.answer == "invalid":
        raise LoadError("INVALID: " + " ".join(reason.text for reason in report.reasons))
