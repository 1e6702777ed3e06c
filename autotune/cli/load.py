"""``autotune load``: what users of a server see under load, and how much load it takes."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli.options import JsonOption, parse_duration, parse_slo

if TYPE_CHECKING:
    from autotune.loadgen import LoadReport

__all__ = ["load"]

KEY_VARIABLE = "AUTOTUNE_API_KEY"


def load(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="http(s)://HOST:PORT of `autotune serve` or another OpenAI-compatible server, or ws(s)://HOST:PORT of "
            "one that speaks FunASR's protocol.",
        ),
    ],
    audio_profile: Annotated[str, typer.Option(help="short, long, mixed, streaming, or a profile's YAML file.")],
    rate: Annotated[
        float | None, typer.Option(help="Requests a second, arriving at random. Default: what the profile offers.")
    ] = None,
    streams: Annotated[
        int | None, typer.Option(help="Recordings spoken at once in real time, by FunASR's WebSocket protocol.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="A text file of arrivals: on each line seconds and, optionally, a recording.")
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(
            help="How long load is offered, such as 60s or 5m. Default: 60 s, and on until the answer is clear."
        ),
    ] = None,
    slo: Annotated[
        str | None, typer.Option(help="p95_latency_s=SECONDS, or none. Default: what the audio profile promises.")
    ] = None,
    find_capacity: Annotated[
        bool, typer.Option("--find-capacity", help="Look for the highest load that keeps the SLO.")
    ] = False,
    timeout_s: Annotated[float, typer.Option(help="Seconds after which a text counts as missing.")] = 30.0,
    audio: Annotated[
        Path | None, typer.Option(help="Your own audio instead of the profile's: a directory, a file or a manifest.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of audio, arrivals and order.")] = 0,
    api_key_file: Annotated[
        Path | None, typer.Option(help=f"A file that holds the server's key. Default: {KEY_VARIABLE}, if set.")
    ] = None,
    model: Annotated[str, typer.Option(help="The model's name in HTTP requests.")] = "funasr",
    insecure: Annotated[bool, typer.Option("--insecure", help="Don't check the server's TLS certificate.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the report as JSON, every request included.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw latency against load as a PNG picture; needs the extra [plot].")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Load a server with an audio profile's recordings: latency under load, or the highest load that keeps the SLO.

    Exit status 3 if the SLO is not kept, 1 if what was measured is INVALID. Ctrl-C reports what was measured so far.
    """
    from autotune.audio.survey import check_can_draw
    from autotune.cli.terminal import TerminalReporter
    from autotune.deploy_yaml import check_writable
    from autotune.loadgen import Access, LoadOptions, Wanted, load_server

    for path in (out, plot):
        if path is not None:
            check_writable(path)
    if plot is not None:
        check_can_draw()
    options = LoadOptions(
        url=url,
        audio_profile=audio_profile,
        command=shlex.join(["autotune", *sys.argv[1:]]),
        audio=audio,
        wanted=Wanted(rate, streams, trace, parse_duration(duration, "--duration"), find_capacity),
        seed=seed,
        slo=parse_slo(slo),
        timeout_s=timeout_s,
        access=Access(_api_key(api_key_file), model, insecure),
    )
    try:
        with TerminalReporter() as reporter:
            report = load_server(options, reporter)
    except KeyboardInterrupt:
        print("autotune: stopped before anything was answered: nothing can be said.", file=sys.stderr)
        raise SystemExit(130) from None
    _keep(report, out, plot)
    _tell(report, json_=json_)


def _api_key(path: Path | None) -> str | None:
    from autotune.errors import DocumentError

    if path is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"--api-key-file must be a readable text file, but {path}: {error}") from error
    if not key or not key.isascii() or not key.isprintable():
        raise DocumentError(f"--api-key-file must hold one line of printable ASCII, but {path} doesn't.")
    return key


def _keep(report: LoadReport, out: Path | None, plot: Path | None) -> None:
    import json

    from autotune.errors import DocumentError
    from autotune.files import atomic_write
    from autotune.loadgen import draw_load

    for option, path in (("--out", out), ("--plot", plot)):
        if path is None:
            continue
        data = draw_load(report) if path is plot else json.dumps(report.to_json(), ensure_ascii=False).encode() + b"\n"
        try:
            atomic_write(path, data)
        except OSError as error:
            raise DocumentError(f"{option} must be a writable file, but {path}: {error.strerror}.") from error


def _tell(report: LoadReport, *, json_: bool) -> None:
    """Print the report; raises InfeasibleSloError where the answer is no, LoadError where there is none."""
    import json

    from autotune.cli.load_report import miss_text, print_report
    from autotune.errors import InfeasibleSloError, LoadError

    if json_:
        print(json.dumps(report.to_json(), ensure_ascii=False))
    else:
        print_report(report)
    if report.interrupted:
        raise SystemExit(130)
    if report.answer == "no":
        raise InfeasibleSloError(miss_text(report))
    if report.answer == "invalid":
        raise LoadError("INVALID: " + " ".join(reason.text for reason in report.reasons))
