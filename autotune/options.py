"""What an option of a command is, and how the text that a user gives becomes its value.

A command's options are the fields of one dataclass beside its job. Here and there nothing heavy is imported, since
``--help`` shows them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autotune.errors import DocumentError
from autotune.redaction import API_KEY_VARIABLE, STORAGE_VARIABLE

__all__ = [
    "AUDIO_PROFILE",
    "CHANNEL",
    "MODEL",
    "SLO",
    "Channel",
    "Option",
    "Side",
    "parse_duration",
    "parse_names",
    "parse_size",
    "parse_slo",
    "read_api_key",
    "read_api_keys",
    "read_storage",
]

Side = Literal["mix", "left", "right"]
"""What is heard of a recording: the mean of its channels, or one of the first two (of a single one, that one)."""
Channel = Literal["mix", "left", "right", "split"]
"""What is asked for: one ``Side``, or both sides of a call, each as a recording of its own."""
_SIZES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class Option:
    """Stands in the ``Annotated`` of a dataclass's field that is an option of the command line."""

    help: str
    name: str | None = None
    """Where it isn't made of the field's name."""
    read: Callable[[Any, str], Any] | None = None
    """Makes the field's value of what was given, whose type is that of its first parameter, and of the option's name.
    Nothing given is None; where it returns None, the field keeps its default. Raises DocumentError."""
    min: float | None = None
    max: float | None = None
    infinite: bool = False
    """Whether a number may be infinite: no limit."""


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
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    try:
        size = float(match[1]) * _SIZES[match[2].upper()] if match else -1.0
    except ValueError:
        size = -1.0
    if not 1 <= size < float("inf"):
        raise DocumentError(f'{option} must be a size such as "512MiB" or "4GiB", but got {text!r}.')
    return int(size)


def parse_slo(text: str | None, option: str) -> float | Literal["none"] | None:
    """Seconds of ``p95_latency_s=0.5``, or ``none`` for no promise; None stays None. Raises DocumentError."""
    if text is None:
        return None
    if text == "none":
        return "none"
    name, _, value = text.partition("=")
    seconds = parse_duration(value, f"{option} p95_latency_s") if name.strip() == "p95_latency_s" else None
    if seconds is None:
        raise DocumentError(f'{option} must be "p95_latency_s=SECONDS", or "none", but got {text!r}.')
    return seconds


def parse_names(text: str | None, option: str) -> tuple[str, ...] | None:
    """Comma-separated names; None stays None. Raises DocumentError for an empty one."""
    if text is None:
        return None
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise DocumentError(f"{option} must be names with commas between them, but got {text!r}.")
    return names


def read_api_keys(path: Path | None, option: str) -> tuple[str, ...]:
    """The keys in a file, one a line; without a file those of the environment, none if it has none.

    With several, all are as good: clients change from one to the next while both are taken.

    Raises:
        DocumentError: the file can't be read, or there is no key in it, or one that no header can carry.
    """
    try:
        # Windows' editors put a byte order mark before UTF-8.
        text = os.environ.get(API_KEY_VARIABLE) if path is None else path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{option} must be a readable text file, but {path}: {error}.") from error
    if text is None:
        return ()
    keys = tuple(line.strip() for line in text.splitlines() if line.strip())
    # An empty one would let everybody in.
    if not keys or not all(key.isascii() and key.isprintable() for key in keys):
        where = API_KEY_VARIABLE if path is None else f"{path} ({option})"
        raise DocumentError(f"An API key must be one line of printable ASCII, but {where} doesn't hold one.")
    return keys


def read_api_key(path: Path | None, option: str) -> str | None:
    """The first of ``read_api_keys``, for a client; None if there is none. Raises what that raises."""
    return next(iter(read_api_keys(path, option)), None)


def read_storage(url: str | None, option: str) -> str | None:
    """The URL of a database, without one that of the environment: a command line can be read by all of a machine."""
    del option
    return url or os.environ.get(STORAGE_VARIABLE) or None


MODEL = Option(
    "A FunASR model directory, weights in one (DIR/model.pt.avg10), a hub id such as iic/SenseVoiceSmall or FunASR's "
    "alias paraformer-zh, or random:PRESET (sensevoice-small, paraformer-large, paraformer-zh, sensevoice-tiny, "
    "paraformer-tiny). Default: the embedded one."
)
AUDIO_PROFILE = Option("A built-in audio profile (short, long, mixed, streaming), or a YAML file.")
CHANNEL = Option(
    "What is heard of your own audio: the mean of its channels (mix), one side of a call (left or right), or both, "
    "each as a recording of its own (split)."
)
SLO = Option(
    "p95_latency_s=SECONDS (95 % of the texts within so many seconds), or none. Default: the audio profile's SLO.",
    read=parse_slo,
)
