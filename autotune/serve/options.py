"""How a server is set up, and what follows from the measured deployment where nothing is said."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from autotune.deploy_yaml import DeploymentFile
from autotune.serve.admission import Limits

__all__ = ["INTERIM_S", "ServeOptions", "hang_s", "interims_fit", "limits_of"]

QUEUE_FOR_S = 30.0
"""The default queue holds what takes this long to recognise at the measured speed."""
LEAST_QUEUE_S = 600.0
STREAMS_SHARE = 0.5
"""Of the streams that the measured speed would carry if they never met: they do (benchmarks/streams.py)."""
INTERIM_S = 1.0
"""Between two interim results of a stream, in seconds of its audio."""
INTERIM_OF_S = 5.0
"""Audio that an interim result is of, on average: half of what is said without a pause."""
HANG_FACTOR = 20.0
"""A batch that runs for this many times what it was measured to take hangs, but none hangs before a minute."""
LEAST_HANG_S = 60.0


@dataclass(frozen=True)
class ServeOptions:
    """What the user chose."""

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    """Clients must send it as ``Authorization: Bearer KEY``; None: whoever reaches the port may ask."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    standby: bool = False
    """Keep a second worker loaded, which goes on when the first one fails."""
    max_queue_s: float | None = None
    max_streams: int | None = None
    interims: bool | None = None
    """Interim results for streams; None: where the measured speed carries them, see ``interims_fit``."""
    max_requests: int = 512
    max_body_bytes: int = 512 << 20
    max_duration_s: float = 4 * 3600.0
    grace_s: float = 30.0
    """After SIGTERM, for what was accepted to be answered."""
    idle_s: float = 30.0
    """A client that sends nothing for longer, in the middle of something, is let go."""
    bytes_per_s: float = 8_000.0
    """A client must send an upload at least this fast on average."""


def limits_of(options: ServeOptions, document: DeploymentFile) -> Limits:
    """What is taken in."""
    rtfx = document.measurement.rtfx.median
    return Limits(
        queue_s=options.max_queue_s or max(LEAST_QUEUE_S, QUEUE_FOR_S * rtfx),
        requests=options.max_requests,
        streams=options.max_streams or max(1, int(STREAMS_SHARE * rtfx)),
        duration_s=options.max_duration_s,
        body_bytes=options.max_body_bytes,
    )


def interims_fit(limits: Limits, document: DeploymentFile) -> bool:
    """Whether all streams can have interim results: a second of a stream costs that second, and an interim's audio."""
    cost = 1 + INTERIM_OF_S / INTERIM_S
    return limits.streams * cost <= STREAMS_SHARE * document.measurement.rtfx.median


def hang_s(document: DeploymentFile) -> float:
    """After how many seconds a batch that runs hangs."""
    deployment = document.deployment
    expected_s = deployment.batch.max_audio_s * deployment.instances / document.measurement.rtfx.median
    return math.ceil(max(LEAST_HANG_S, HANG_FACTOR * expected_s))
