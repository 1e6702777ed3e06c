"""What a user can ask of ``serve``. Imports nothing heavy, since ``--help`` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from autotune.errors import DocumentError
from autotune.options import API_KEY_VARIABLE, Option, parse_duration, read_api_key

__all__ = ["ServeOptions"]


@dataclass(frozen=True)
class ServeOptions:
    """Where a server listens, whom it answers and how much it takes in, in the order of ``--help``."""

    host: Annotated[str, Option("Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1"
    port: Annotated[int, Option("TCP port; 0 for any that is free.", min=0, max=65535)] = 8000
    api_key: Annotated[
        str | None,
        Option(
            f"A file with the key that clients must send; or the variable {API_KEY_VARIABLE}.",
            "--api-key-file",
            read_api_key,
        ),
    ] = None
    """Sent as ``Authorization: Bearer KEY``; None: whoever reaches the port may ask."""
    tls_cert: Annotated[Path | None, Option("PEM certificate; plain HTTP without it.")] = None
    tls_key: Annotated[Path | None, Option("Its key.")] = None
    standby: Annotated[
        bool, Option("Keep a second worker loaded: a crash costs no reload, but its memory all the time.")
    ] = False
    max_queue_s: Annotated[
        float | None,
        Option("Seconds of audio accepted and not answered. Default: half a minute's work, ≥ 600.", min=1),
    ] = None
    max_streams: Annotated[
        int | None, Option("WebSocket streams at once. Default: half of the measured speed's.", min=1)
    ] = None
    interims: Annotated[
        bool | None, Option("Interim results of streams. Default: where the measured speed carries them.")
    ] = None
    max_body_mb: Annotated[int, Option("Largest upload, in MiB.", min=1)] = 512
    max_duration_s: Annotated[float, Option("Longest recording. Default: 4h.", "--max-duration", parse_duration)] = (
        4 * 3600.0
    )
    grace_s: Annotated[float, Option("Seconds for what was accepted, after SIGTERM.", min=0)] = 30.0
    max_requests: int = 512
    idle_s: float = 30.0
    """A client that sends nothing for longer, in the middle of something, is let go."""
    bytes_per_s: float = 8_000.0
    """A client must send an upload at least this fast on average."""

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise DocumentError("--tls-cert and --tls-key must be given together, but got only one of them.")
