"""``autotune report``: a study and its result as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli.options import JsonOption

if TYPE_CHECKING:
    from autotune.planning.options import Price
    from autotune.report.subject import Subject
    from autotune.reporting import Reporter

__all__ = ["report", "write_report"]


def report(
    source: Annotated[
        str,
        typer.Argument(
            metavar="STUDY|deploy.yaml",
            help="A deploy.yaml, a study's journal, or a study's name.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The HTML file.")] = Path("report.html"),
    storage: Annotated[
        str | None, typer.Option(help="The PostgreSQL database that holds the study, as for autotune tune.")
    ] = None,
    price: Annotated[
        str | None, typer.Option(help="What a machine costs, such as 1.20/h: shows what audio costs.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Write what was found, and why, as one HTML file that needs no network.

    Of a deploy.yaml whose study is on this machine it shows the proof and the search; of a study that is still going
    on, what is known so far.
    """
    import json

    from autotune.cli.terminal import TerminalReporter
    from autotune.errors import DocumentError
    from autotune.files import check_writable
    from autotune.planning.options import parse_prices
    from autotune.report.subject import subject_of

    check_writable(out)
    if out.resolve() == Path(source).resolve():
        raise DocumentError(f"--out must be another file than the one that is reported, but both are {out}.")
    prices = parse_prices(price, "--price") or (None,)
    if len(prices) > 1:
        raise DocumentError(f"--price must be that of one machine, but got {price!r}.")
    subject = subject_of(source, storage)
    if price is not None and subject.document is None:
        raise DocumentError(f"--price must come with a deploy.yaml, since {source} recommends nothing yet.")
    with TerminalReporter() as reporter:
        write_report(subject, out, reporter, prices[0])
    if json_:
        print(json.dumps({"out": str(out.resolve()), "study": subject.name, "notes": list(subject.notes)}))
        return
    for note in subject.notes:
        print(f"note: {note}")
    print(f"Written to {out}. Open it in a browser.")


def write_report(subject: Subject, out: Path, reporter: Reporter, price: Price | None = None) -> None:
    """Write the page. Raises DocumentError: it can't be written."""
    from autotune.files import write_output
    from autotune.report.page import page
    from autotune.report.service_plots import curve_of

    curve = None
    if subject.document is not None:
        reporter.working("simulating one server under load" if subject.document.service_times else "")
        curve = curve_of(subject.document)
        reporter.working("")
    write_output(out, page(subject, curve, price).encode())
