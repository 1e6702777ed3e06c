"""What a user can ask of ``load``. Imports nothing heavy, since ``--help`` shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from autotune.options import (
    AUDIO_PROFILE,
    CHANNEL,
    SLO,
    Channel,
    Option,
    parse_duration,
    read_api_key,
)
from autotune.redaction import API_KEY_VARIABLE

__all__ = ["AT_LEAST_S", "LoadOptions"]

AT_LEAST_S = 60.0
"""Seconds that load is offered at least where the user doesn't say."""


@dataclass(frozen=True)
class LoadOptions:
    """What is offered to a server, and by whom, in the order of ``--help``; None where the audio profile shall say."""

    audio_profile: Annotated[str, AUDIO_PROFILE]
    rate: Annotated[float | None, Option("Requests a second, arriving at random. Default: the profile's load.")] = None
    streams: Annotated[
        int | None, Option("Number of recordings spoken at once in real time, over FunASR's WebSocket protocol.")
    ] = None
    trace: Annotated[
        Path | None, Option("A text file of arrivals: on each line seconds and, optionally, the number of a recording.")
    ] = None
    duration_s: Annotated[
        float | None,
        Option(
            f"How long load is offered, such as 60s or 5m. Default: {AT_LEAST_S:g} s, and longer until it is enough.",
            "--duration",
            parse_duration,
        ),
    ] = None
    slo: Annotated[float | Literal["none"] | None, SLO] = None
    """Seconds within which 95 % of the texts must be there."""
    find_capacity: Annotated[bool, Option("Search for the highest load that keeps the SLO.", "--find-capacity")] = False
    timeout_s: Annotated[float, Option("Seconds after which a text counts as missing.")] = 30.0
    audio: Annotated[
        Path | None, Option("Your own audio instead of the profile's: a directory, a file or a manifest.")
    ] = None
    channel: Annotated[Channel, CHANNEL] = "mix"
    seed: Annotated[int, Option("Seed of audio, arrivals and order.", min=0)] = 0
    api_key: Annotated[
        str | None,
        Option(
            f"A file with the server's key. Default: the variable {API_KEY_VARIABLE}, if set.",
            "--api-key-file",
            read_api_key,
        ),
    ] = field(default=None, repr=False)
    model: Annotated[str, Option("The model's name in HTTP requests.")] = "funasr"
    insecure: Annotated[bool, Option("Don't check the server's TLS certificate.", "--insecure")] = False
    command: str = ""
    """The command line, for the report's provenance."""
