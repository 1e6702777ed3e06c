"""What a user can ask of ``plan``. Imports nothing heavy, since ``--help`` shows it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from autotune.errors import DocumentError
from autotune.options import Option, parse_duration, parse_size

__all__ = [
    "REPORTED_S",
    "UTILISATION",
    "PlanOptions",
    "Price",
    "Promise",
    "parse_availability",
    "parse_prices",
    "parse_promises",
    "read_curve",
    "read_machines",
]

REPORTED_S = 60.0
"""Seconds of the runs of `autotune load --find-capacity` that is predicted, where nothing else is said."""
UTILISATION = 0.6
"""Share of a replica's measured RTFx that the formula plans for, unless the user says otherwise; of streams,
``STREAMS_SHARE``, as servers take them in."""

_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Promise:
    """What share of the texts is to be there within how long."""

    share: float
    latency_s: float
    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - as of a document

    def describe(self) -> str:
        """As people write it: ``p95 ≤ 1 s``."""
        return f"p{100 * self.share:g} ≤ {self.latency_s:g} s"


def parse_promises(text: str | None, option: str) -> tuple[Promise, ...] | None:
    """Parse ``p95_latency_s=1.0``, several with commas, or ``none`` for no promise; None stays None.

    Raises:
        DocumentError: not of that form, or a percentile twice.
    """
    if text is None:
        return None
    if text.strip() == "none":
        return ()
    promises = []
    for part in text.split(","):
        name, _, value = part.partition("=")
        share = (
            _PERCENTILES.get(name.strip().removesuffix("_latency_s")) if name.strip().endswith("_latency_s") else None
        )
        try:
            seconds = float(value.strip().removesuffix("s"))
        except ValueError:
            seconds = math.nan
        if share is None or not 0 < seconds < math.inf:
            raise DocumentError(
                f'{option} must be "p95_latency_s=SECONDS" (p50 and p99 too, several with commas), or "none", '
                f"but got {part!r}."
            )
        promises.append(Promise(share=share, latency_s=seconds))
    if len({promise.share for promise in promises}) < len(promises):
        raise DocumentError(f"{option} must name each percentile once, but got {text!r}.")
    return tuple(promises)


def parse_availability(text: str | None, option: str) -> int | None:
    """Spare replicas of ``n`` or ``n+1``; None stays None. Raises DocumentError."""
    if text is None:
        return None
    match = re.fullmatch(r"n(?:\+(\d{1,3}))?", text.strip().lower())
    if match is None:
        raise DocumentError(
            f'{option} must be "n", or "n+1" where one replica may be away (n+2 and so on), but got {text!r}.'
        )
    return int(match[1] or 0)


@dataclass(frozen=True)
class Price:
    """What a machine costs."""

    per_hour: float
    currency: str
    """As it was given, before or after the number; empty: none was."""

    def text(self, amount: float) -> str:
        """An amount of this currency."""
        number = f"{amount:,.2f}" if amount >= 0.1 else f"{amount:.3g}"
        return f"{number} {self.currency}".rstrip() if self.currency.isalpha() else f"{self.currency}{number}"


_HOURS = {"h": 1.0, "hour": 1.0, "day": 24.0, "month": 730.0}


def parse_prices(text: str | None, option: str) -> tuple[Price, ...] | None:
    """Parse ``1.20/h``, ``$1.20/h`` or ``900 EUR/month``, several with commas; None stays None.

    Raises:
        DocumentError: not of that form, not above 0, or in several currencies.
    """
    if text is None:
        return None
    found = []
    for part in text.split(","):
        match = re.fullmatch(
            r"\s*(?P<before>[^\d\s.+-]{0,3})\s*(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<after>[^\d\s/.+-]{0,3})\s*/\s*"
            r"(?P<period>h|hour|day|month)\s*",
            part,
        )
        per_hour = float(match["number"]) / _HOURS[match["period"]] if match else 0.0
        if match is None or not 0 < per_hour < math.inf:
            raise DocumentError(
                f'{option} must be what a machine costs, such as "1.20/h", "$1.20/h" or "900 EUR/month" (above 0; one '
                f"for all files, or one for each with commas), but got {part.strip()!r}."
            )
        found.append(Price(per_hour, match["before"] or match["after"]))
    if len({price.currency for price in found}) > 1:
        raise DocumentError(f"{option} must be in one currency, but got {text!r}.")
    return tuple(found)


def read_curve(path: Path | None, option: str) -> tuple[float, ...] | None:
    """How load is spread over a day: a number a line, for equally long parts of it; made relative to their mean.

    Raises:
        DocumentError: not readable, fewer than two numbers, a negative one, or all are 0.
    """
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{option} must be a readable text file, but {path}: {error}") from error
    values = []
    for number, line in enumerate(lines, start=1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            raise DocumentError(f"{path}, line {number} must hold one number ≥0, but got {word!r}.")
        values.append(value)
    if len(values) < 2 or not sum(values):
        raise DocumentError(
            f"{option} must hold at least two numbers, not all of them 0: one for each equal part of a day, such as "
            f"24 lines; {path} holds {len(values)}."
        )
    mean = sum(values) / len(values)
    return tuple(value / mean for value in values)


def read_machines(names: list[str] | None, option: str) -> tuple[str, ...] | None:
    """Machines as they were named, a text alone being one; none stays None. Raises DocumentError for an empty name."""
    if not names:
        return None
    if not all(name.strip() for name in ([names] if isinstance(names, str) else names)):
        raise DocumentError(f"{option} must be a file or a machine's name, but got an empty one.")
    return (names,) if isinstance(names, str) else tuple(names)


@dataclass(frozen=True)
class PlanOptions:
    """A demand and what is asked of the fleet that carries it, in the order of ``--help``."""

    demand: Annotated[str | None, Option('Such as "5000 audio-hours/day", "40 requests/s" or "200 streams".')] = None
    trace: Annotated[
        Path | None,
        Option("Instead: a text file of arrivals, as for autotune load: seconds, and a recording's number."),
    ] = None
    promises: Annotated[
        tuple[Promise, ...] | None,
        Option(
            "p95_latency_s=SECONDS (p50 and p99 too, several with commas), or none. Default: what the file was tuned "
            "for.",
            "--slo",
            parse_promises,
        ),
    ] = None
    peak: Annotated[float, Option("The peak that is planned for, in multiples of the demand.", min=1)] = 1.0
    curve: Annotated[
        tuple[float, ...] | None,
        Option("A text file: how load is spread over a day, a number a line, such as 24.", "--curve", read_curve),
    ] = None
    """Relative to its mean."""
    spare: Annotated[
        int,
        Option("n+1: the promises hold while one replica is away. Default: n.", "--availability", parse_availability),
    ] = 0
    prices: Annotated[
        tuple[Price, ...] | None,
        Option("What a machine costs, such as 1.20/h; one for each file, with commas.", "--price", parse_prices),
    ] = None
    utilisation: Annotated[
        float | None,
        Option(
            "Share of the capacity to plan for, in (0, 1]. Default: all that keeps the SLO, without one "
            f"{UTILISATION}, of streams as many as servers take in."
        ),
    ] = None
    duration_s: Annotated[
        float | None,
        Option(
            f"Length of autotune load --find-capacity's runs whose answer is predicted. Default: {REPORTED_S:g} s.",
            "--duration",
            parse_duration,
        ),
    ] = None
    memory_bytes: Annotated[
        int | None,
        Option("What a replica may take, such as 4GiB. Default: the measured machine's.", "--memory", parse_size),
    ] = None
    hardware: Annotated[
        tuple[str, ...],
        Option(
            "Plan for another machine: a file of autotune probe --out, or a name of the library such as epyc-9554:16 "
            "(16 of its cores). May be repeated.",
            read=read_machines,
        ),
    ] = ()
    measured_on: Annotated[
        Path | None, Option("A probe of the machine that the files were recorded on, for files without one.")
    ] = None
    seed: Annotated[int, Option("Seed of arrivals and order.", min=0)] = 0
