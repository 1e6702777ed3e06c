"""What a replica is given: its machine, what batches take, recordings; and what is known of the batches that ran."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from autotune.deployment import Batch
from autotune.recognizer.admission import Limits

__all__ = ["BatchTime", "Batched", "Machine", "Piece", "SimulatedRecording", "Work"]


@dataclass(frozen=True)
class Piece:
    """A segment that a recording will be cut into."""

    audio_s: float
    read_s: float
    """Core-seconds from the piece before to this one: reading, speech detection, features."""
    before_s: float = 0.0
    """Seconds of the recording that lie before it."""
    settled_s: float = 0.0
    """Of a spoken recording: seconds from its beginning until this segment is known to have ended."""
    stop_s: float = 0.0
    """Of a spoken recording: the second in which it ends."""


@dataclass(frozen=True)
class SimulatedRecording:
    """A recording as the simulation sees it: no audio, only when it arrives and what it is cut into."""

    arrival_s: float
    """When it is there, or begins to be spoken; ``OFFLINE``: all are there from the beginning."""
    pieces: tuple[Piece, ...]
    spoken_s: float | None = None
    """How long it is spoken; its latency counts from then on. None: it is there as a whole."""
    audio_s: float = 0.0
    """How long it is; what a server's limits and its receiving go by."""


@dataclass(frozen=True)
class BatchTime:
    """How long a batch takes."""

    alone_s: float
    """Wall seconds while no other engine runs."""
    crowded_speed: float
    """How fast it is while all engines run, relative to that; above 0."""


Work = Callable[[int, float], BatchTime]
"""What a batch takes, as measured, with its noise: of so many segments, each padded to so many seconds."""


@dataclass(frozen=True)
class Machine:
    """What a replica runs on and how; all of it is the deployment's and the hardware's."""

    policy: Batch
    engines: int
    threads: int
    """Of each engine."""
    cores: int
    limit_s: float = math.inf
    """Seconds of audio of one owner that may wait, see ``recognizer.intake.queue_limit_s``."""
    readers: int = 1
    """Offline, how many threads read; else each recording has one of its own."""
    stream_cores: float = 0.0
    """Cores that one open stream keeps busy beside its segments: speech detection goes on while nobody speaks."""
    ahead_s: float = math.inf
    """Seconds of a stream's segments that may wait, see ``RecognizerStream``."""
    interim_streams: int = 0
    """Most open streams with which each has interim texts."""
    interim_read_s: float = 0.0
    """Core-seconds before the engine for each second of an interim text's audio."""
    beside: tuple[float, float] = (1.0, 1.0)
    """See ``Cores``."""
    spin_s: float = 0.0
    """Core-seconds for which each thread of an engine but one spins after a batch if no other one follows."""
    front_s: float = 0.0
    """Seconds for each request of the server's own process, whose one thread receives them one after the other."""
    front_audio_s: float = 0.0
    """The same for each second of a request's audio."""
    client_s: float = 0.0
    """Core-seconds for each request of a client that runs on the same machine."""
    background: float = 0.0
    """Cores that something else keeps busy all the time."""
    limits: Limits | None = None
    """What is turned away; None: nothing."""


@dataclass(frozen=True)
class Batched:
    """A batch that ran."""

    size: int
    audio_s: float
    padded_s: float
    """Of each segment."""
    began_s: float
    ended_s: float
