"""Measurement: everything one trial produced, raw samples included."""

from __future__ import annotations

from typing import Any, NamedTuple

from autotune.accuracy import Accuracy
from autotune.documents import Document
from autotune.measure.interference import Disturbance, disturbances, severity, verdict
from autotune.simulation.service_times import ServicePoint

__all__ = ["BatchSample", "Measurement", "NewShapes", "ShardSample"]


class ShardSample(Document):
    """One shard of the workload, transcribed once."""

    shard: int
    audio_s: float
    """Seconds of audio in it."""
    processing_s: float
    """Wall seconds during which at least one request was being processed."""
    latencies_s: tuple[float, ...]
    """One a recording: from its scheduled arrival (open loop) or its start (closed loop) to its text."""


class NewShapes(Document):
    """What batches cost whose shape (size × frames) the engine had not run before, warm-up included."""

    share: float
    """Share of all batches."""
    cost: float | None
    """How much longer the engine took for a padded second than with shapes that it had run, as a fraction; None if one
    of the two kinds of batches is missing."""


class BatchSample(NamedTuple):
    """One batch that ran while the shards were measured."""

    size: int
    """Rows."""
    padded_s: float
    """Seconds of each row, padding included."""
    began_s: float
    """Seconds from when the first of them was taken by an engine: with ``wall_s`` it tells how many ran at once."""
    wall_s: float
    """Seconds until all of its texts were there."""


class Measurement(Document):
    """What a trial produced. Times are wall seconds in the child unless said otherwise."""

    shards: tuple[ShardSample, ...]
    load_s: float
    """Cold start: from the child's first instruction to a loaded recognizer, imports included."""
    warmup_s: float
    measured_s: float
    """Wall seconds from before the first shard to after the last."""
    peak_memory_bytes: int
    """Peak resident set of the child and its descendants."""
    stages_s: dict[str, float]
    """Core-seconds spent in read, chunk, features, engine and decode, summed over the measured shards: CPU time of all
    threads, ``engine`` being what no other stage used."""
    padding_share: float
    """Share of the padded seconds of all batches that held no audio."""
    batches: int
    new_shapes: NewShapes
    texts: dict[str, str]
    """Recording id → text: of the hearing, and if asked for, of the shards' recordings the first time."""
    engine: dict[str, Any]
    """``EngineFacts`` of the first instance, as read back from the runtime."""
    noise: dict[str, float]
    """What else the machine did during the measured shards: see docs/measuring.md. Facts that aren't known are left
    out."""
    accuracy: Accuracy | None = None
    """Errors of its texts in the hearing; None where none was transcribed, or there is nothing to judge by."""
    warmup_passes_s: tuple[float, ...] = ()
    """Wall seconds of each pass of the warm-up; ``warmup_s`` is their sum. Empty in measurements of older versions."""
    steady: bool = True
    """Whether the warm-up ended because its last passes agreed."""
    cut_short: bool = False
    """The first shard was hopelessly slow, so the others were not measured."""
    batch_samples: tuple[BatchSample, ...] = ()
    """The last 4096 batches in the order of their ends. Empty in measurements of older versions."""
    hearing_s: float = 0.0
    """Wall seconds in which the hearing was transcribed, after everything that is timed; 0: none was."""
    service_points: tuple[ServicePoint, ...] = ()
    """What batches take, shape by shape; empty where that wasn't asked for."""
    service_s: float = 0.0
    """Wall seconds in which they were measured, after everything else."""

    @property
    def audio_s(self) -> float:
        """Seconds of audio transcribed while measuring."""
        return sum(sample.audio_s for sample in self.shards)

    @property
    def processing_s(self) -> float:
        """Wall seconds in which that audio was processed."""
        return sum(sample.processing_s for sample in self.shards)

    @property
    def rtfx(self) -> float:
        """Σ audio_s / Σ processing_s over all shards: a ratio of sums."""
        return self.audio_s / self.processing_s

    @property
    def latencies_s(self) -> list[float]:
        """The latencies of all recordings of all shards, seconds."""
        return [value for sample in self.shards for value in sample.latencies_s]

    @property
    def disturbances(self) -> tuple[Disturbance, ...]:
        """The facts of ``noise`` by which this isn't the deployment's own speed; empty for most measurements."""
        return disturbances(self.noise)

    @property
    def severity(self) -> float:
        """How much it was disturbed: 0 if not at all, see ``interference.severity``."""
        return severity(self.disturbances)

    @property
    def verdict(self) -> str:
        """``stable``, or ``noisy because`` of what, and what to do about it."""
        return verdict(self.disturbances, len(self.warmup_passes_s), self.steady)
