"""The ``autotune`` command: its table of commands, and how errors become exit codes."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Annotated

import typer

from autotune.cli import (
    doctor,
    explain,
    export,
    history,
    load,
    measure,
    plan,
    probe,
    profile,
    render,
    report,
    serve,
    tune,
)
from autotune.errors import AutotuneError, DocumentError, InfeasibleSloError, SlowerThanRecordedError
from autotune.version import __version__

__all__ = ["COMMANDS", "app", "main"]

COMMANDS = (
    "tune",
    "measure",
    "serve",
    "load",
    "export",
    "probe",
    "profile",
    "render",
    "plan",
    "report",
    "explain",
    "history",
    "doctor",
    "clean",
)
EXIT_FAILED, EXIT_USAGE, EXIT_NO, EXIT_INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="autotune",
    help="Measure deployments of a FunASR model to find the fastest for this hardware and your audio.\n\n"
    "`autotune --audio-profile long` is short for `autotune tune --audio-profile long`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("tune")(tune.tune)
app.command("measure")(measure.measure)
app.command("serve")(serve.serve)
app.command("load")(load.load)
app.command("export")(export.export)
app.command("probe")(probe.probe)
app.command("profile")(profile.profile)
app.command("render")(render.render)
app.command("plan")(plan.plan)
app.command("report")(report.report)
app.command("explain")(explain.explain)
app.command("history")(history.history)
app.command("doctor")(doctor.doctor)
app.command("clean")(doctor.clean)


def _print_version(show: bool) -> None:
    if show:
        print(f"autotune {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def main(argv: list[str] | None = None) -> None:
    """Run a command; exit 0 done, 1 failed, 2 usage, 3 the measured answer is no, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that isn't UTF-8 shows what it can: that must end no command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0].startswith("-") and arguments[0] not in ("--help", "--version"):
        arguments.insert(0, "tune")
    try:
        _run(arguments)
    except DocumentError as error:
        _fail(error, EXIT_USAGE)
    except (InfeasibleSloError, SlowerThanRecordedError) as error:
        _fail(error, EXIT_NO)
    except AutotuneError as error:
        _fail(error, EXIT_FAILED)
    except KeyboardInterrupt:
        print("autotune: stopped. Nothing measured is lost: run the same command to go on.", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def _run(arguments: list[str]) -> None:
    """Run the command, and end with an error where what it says can't be printed."""
    try:
        try:
            app(arguments, prog_name="autotune")
        finally:
            # Here, not while Python ends: it would only mutter.
            sys.stdout.flush()
    except OSError as error:
        if not _stdout_is_broken():
            raise
        if error.errno != errno.EPIPE:
            told = "Files are written as they were announced."
            print(f"autotune: stdout must take what is printed, but: {error.strerror}. {told}", file=sys.stderr)
        sys.exit(EXIT_FAILED)


def _stdout_is_broken() -> bool:
    """Whether stdout takes no line; from then on everything that is printed goes nowhere, since it would fail again."""
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _fail(error: Exception, code: int) -> None:
    print(f"autotune: {error}", file=sys.stderr)
    sys.exit(code)
