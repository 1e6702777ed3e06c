"""What memory a replica needs: what was measured, and what it holds of the audio that waits and of open streams."""

from __future__ import annotations

from dataclasses import dataclass

from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.deploy_yaml.document import DeploymentFile
from autotune.recognizer.streaming import MOST_INTERIM_S

__all__ = ["HEADROOM_PERCENT", "MIB", "SERVER_MIB", "ReplicaMemory", "replica_memory", "stream_bytes", "waiting_bytes"]

MIB = 2**20
HEADROOM_PERCENT = 20
"""Per cent that are added to the measured peak: allocators differ from day to day, and a process above its limit is
killed."""
SERVER_MIB = 256
"""MiB for the process of ``autotune serve`` that receives uploads and speaks with clients: 130 at most in a soak at
80 % of capacity (``benchmarks/soak.py``)."""
_FEATURE_BYTES_PER_S = 7 * 80 * 4 / 0.06
"""Features of a second of audio: float32 of seven stacked frames of 80 bands, every 60 ms, in all FunASR models."""
_SAMPLE_BYTES, _PCM_BYTES = 4, 2
"""Of a sample: float32 in the recognizer, 16 bits in the server's own process."""
_STREAM_MIB = 1
"""MiB of a stream beside its audio: its thread, its connection, and what speech detection remembers."""


@dataclass(frozen=True)
class ReplicaMemory:
    """Bytes of one replica, by what takes them."""

    recognizer: int
    """Weights, arenas and batches: the measured peak with its headroom, less ``punctuation``."""
    server: int
    """The process that receives uploads and speaks with clients."""
    waiting: int
    """Segments that wait for an engine."""
    streams: int
    """Open streams."""
    punctuation: int = 0
    """The punctuation model, with its headroom; 0 where it wasn't measured by itself."""

    @property
    def total(self) -> int:
        """Bytes that a container's limit must allow: the sum of the parts."""
        return self.recognizer + self.punctuation + self.server + self.waiting + self.streams

    def describe(self) -> str:
        """The parts that aren't 0, in GiB."""
        parts = {
            "recognizer": self.recognizer,
            "punctuation": self.punctuation,
            "server": self.server,
            "waiting audio": self.waiting,
            "open streams": self.streams,
        }
        return " + ".join(f"{value / 2**30:.2f} ({name})" for name, value in parts.items() if value)


def replica_memory(document: DeploymentFile, *, waiting_s: float = 0.0, streams: float = 0.0) -> ReplicaMemory:
    """Memory of a replica at a load, in the machine's own memory; a GPU's isn't measured.

    Args:
        document: the measured deployment.
        waiting_s: seconds of audio whose segments wait for an engine, at most.
        streams: streams that are open.
    """
    peak = _with_headroom(document.measurement.peak_memory_bytes)
    punctuation = min(peak, _with_headroom(_punctuation_bytes(document)))
    return ReplicaMemory(
        recognizer=peak - punctuation,
        punctuation=punctuation,
        server=SERVER_MIB * MIB,
        waiting=round(waiting_s * waiting_bytes(document)),
        streams=round(streams * stream_bytes(document)),
    )


def _with_headroom(measured: int) -> int:
    return -(-measured * (100 + HEADROOM_PERCENT) // 100)


def _punctuation_bytes(document: DeploymentFile) -> int:
    """What the deployment's punctuation model took by itself; 0 where it has none or that wasn't measured."""
    stage = document.deployment.punctuation
    rows = document.punctuation_times or ()
    found = (row.memory_bytes for row in rows if stage and (row.format, row.threads) == (stage.format, stage.threads))
    return next(found, 0)


def waiting_bytes(document: DeploymentFile) -> float:
    """Bytes of a second of audio that waits: features, or the waveform where the engine takes that."""
    return _SAMPLE_BYTES * SAMPLE_RATE_HZ if document.deployment.engine == "funasr" else _FEATURE_BYTES_PER_S


def stream_bytes(document: DeploymentFile) -> float:
    """Bytes of an open stream, at most: audio that isn't settled, in both processes, and what interim texts need.

    A stream that nothing cuts keeps all of its audio: that of the profile's mean recording.
    """
    chunking, audio = document.deployment.chunking, document.audio_profile
    longest_s = chunking.window_s or chunking.max_segment_s or audio.audio_s / audio.recordings
    samples = longest_s * (_SAMPLE_BYTES + _PCM_BYTES) + MOST_INTERIM_S * _SAMPLE_BYTES
    return samples * SAMPLE_RATE_HZ + _STREAM_MIB * MIB
