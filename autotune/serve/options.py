"""What a user can ask of ``serve``. Imports nothing heavy, since ``--help`` shows it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from autotune.errors import DocumentError
from autotune.hot_words import read_hot_words
from autotune.options import Option, parse_duration, parse_names, read_api_keys
from autotune.redaction import API_KEY_VARIABLE

__all__ = ["LEAST_QUEUE_S", "QUEUE_FOR_S", "ServeOptions"]

QUEUE_FOR_S = 30.0
"""Seconds of work at the measured speed that the default queue holds."""
LEAST_QUEUE_S = 600.0
"""Seconds of audio that the default queue holds at least."""
LONGEST_S = 4 * 3600.0
"""Seconds of the longest recording by default."""
STREAM_IDLE_S = 300.0
"""Seconds that a stream may be silent by default."""


@dataclass(frozen=True)
class ServeOptions:
    """Where a server listens, whom it answers and how much it takes in, in the order of ``--help``."""

    model: Annotated[
        str | None, Option("Where the model lies now, if not where it was tuned; it must be the same.")
    ] = None
    vad_model: Annotated[
        str | None, Option("Where the FSMN-VAD lies now, if not where it was tuned; it must be the same.")
    ] = None
    punc_model: Annotated[
        str | None, Option("Where the punctuation model lies now, if not where it was tuned; it must be the same.")
    ] = None
    host: Annotated[str, Option("Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1"
    port: Annotated[int, Option("TCP port; 0 for any free port.", min=0, max=65535)] = 8000
    api_keys: Annotated[
        tuple[str, ...],
        Option(
            "A file with the key that clients must send; with several, one a line, any of them will do. Default: the "
            f"variable {API_KEY_VARIABLE}, if set.",
            "--api-key-file",
            read_api_keys,
        ),
    ] = field(default=(), repr=False)
    """Sent as ``Authorization: Bearer KEY``; none: whoever reaches the port may ask."""
    no_key: Annotated[
        bool,
        Option(
            "Let whoever reaches the port ask: without a key, only 127.0.0.1 and ::1 are served otherwise.", "--no-key"
        ),
    ] = False
    tls_cert: Annotated[Path | None, Option("PEM certificate for https and wss; without it, plain HTTP.")] = None
    tls_key: Annotated[Path | None, Option("PEM key of the certificate.")] = None
    standby: Annotated[
        bool, Option("Keep a second worker loaded: it takes over after a crash, and costs its memory all the time.")
    ] = False
    max_queue_s: Annotated[
        float | None,
        Option(
            f"Most seconds of audio accepted and not answered yet. Default: {QUEUE_FOR_S:g} s of work, at least "
            f"{LEAST_QUEUE_S:g}.",
            min=1,
        ),
    ] = None
    max_streams: Annotated[
        int | None,
        Option(
            "Most WebSocket streams at once. Default: what a machine carries, by its service times or its RTFx.", min=1
        ),
    ] = None
    interims: Annotated[
        bool | None,
        Option("Give streams interim results. Default: while the measured speed suffices for all open ones."),
    ] = None
    max_body_mb: Annotated[int, Option("Largest upload, in MiB.", min=1)] = 512
    max_duration_s: Annotated[
        float,
        Option(
            f"Longest recording, such as 90s or 2h. Default: {LONGEST_S / 3600:g}h.", "--max-duration", parse_duration
        ),
    ] = LONGEST_S
    hot_words: Annotated[
        tuple[str, ...] | None,
        Option(
            "Words that a SeacoParaformer listens for, as words between blanks or a file with one a line; requests may "
            'have more of their own. "": only their own. It takes the memory of a second network. Default: those that '
            "the deployment was measured with.",
            "--hotwords",
            read_hot_words,
        ),
    ] = None
    """None: those of the deployment's file; where it has none, they aren't taken, and requests' are ignored."""
    cors_origins: Annotated[
        tuple[str, ...],
        Option("Origins of web pages that may ask, comma-separated, or *.", "--cors-origin", read=parse_names),
    ] = ()
    stream_idle_s: Annotated[
        float,
        Option(
            f"How long a stream may be silent, such as 90s or 1h. Default: {STREAM_IDLE_S / 60:g}m.",
            "--stream-idle",
            parse_duration,
        ),
    ] = STREAM_IDLE_S
    grace_s: Annotated[float, Option("Most seconds after SIGTERM to finish accepted requests.", min=0)] = 30.0
    max_requests: int = 512
    idle_s: float = 30.0
    """A client that sends nothing for longer, in the middle of something, is let go."""
    bytes_per_s: float = 8_000.0
    """A client must send an upload at least this fast, in every stretch of ``idle_s`` seconds."""

    def __post_init__(self) -> None:
        if not self.api_keys and not self.no_key and not _is_loopback(self.host):
            raise DocumentError(
                f"--host must be an address of this machine alone where there is no key, but got {self.host!r}. Give a "
                f"key (--api-key-file, or {API_KEY_VARIABLE}), or --no-key to let whoever reaches the port ask."
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise DocumentError("--tls-cert and --tls-key must be given together, but got only one of them.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
