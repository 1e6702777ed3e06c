"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from autotune.errors import DocumentError

__all__ = ["JsonOption", "ModelOption", "parse_duration"]

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A FunASR model directory, a hub id such as iic/SenseVoiceSmall, or random:PRESET "
        "(sensevoice-small, paraformer-large, sensevoice-tiny, paraformer-tiny).",
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
