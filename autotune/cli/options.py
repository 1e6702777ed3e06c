"""Options that several commands share."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import typer

from autotune.errors import DocumentError

__all__ = ["JsonOption", "ModelOption", "parse_duration", "parse_size", "parse_slo"]

_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A FunASR model directory, a hub id such as iic/SenseVoiceSmall or FunASR's alias paraformer-zh, or "
        "random:PRESET (sensevoice-small, paraformer-large, sensevoice-tiny, paraformer-tiny).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, nothing else there.")]


def parse_duration(text: str | None, option: str) -> float | None:
    """``90``, ``90s``, ``20m`` or ``2h`` in seconds; None stays None. Raises DocumentError."""
    if text is None:
        return None
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:], 0.0)
    try:
        seconds = float(text[:-1]) * factor if factor else float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise DocumentError(f'{option} must be a positive duration such as "90s", "20m" or "2h", but got {text!r}.')
    return seconds


def parse_size(text: str | None, option: str) -> int | None:
    """``4GiB``, ``512MiB``, ``3e9`` in bytes (``4G``, ``4GB`` are GiB too); None stays None. Raises DocumentError."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    try:
        size = float(found[1]) * _SIZES[found[2].upper()] if found else -1.0
    except ValueError:
        size = -1.0
    if not 1 <= size < float("inf"):
        raise DocumentError(f'{option} must be a size such as "512MiB" or "4GiB", but got {text!r}.')
    return int(size)


def parse_slo(text: str | None) -> float | Literal["none"] | None:
    """Seconds of ``p95_latency_s=0.5``, or ``none`` for no promise; None stays None. Raises DocumentError."""
    if text is None:
        return None
    if text == "none":
        return "none"
    name, _, value = text.partition("=")
    seconds = parse_duration(value, "--slo p95_latency_s") if name.strip() == "p95_latency_s" else None
    if seconds is None:
        raise DocumentError(f'--slo must be "p95_latency_s=SECONDS", or "none", but got {text!r}.')
    return seconds
