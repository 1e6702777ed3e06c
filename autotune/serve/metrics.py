"""What Prometheus reads at ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)


class Metrics:
    """The server's counters; for its event loop."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"autotune_{name}", text, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"autotune_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Iterable[float], *labels: str) -> Histogram:
            return Histogram(f"autotune_{name}", text, labels, buckets=tuple(buckets), registry=registry)

        self._gauges = {
            "ready": gauge("ready", "1 while a recognizer is warmed up and the server isn't stopping"),
            "requests": gauge("requests_in_flight", "Requests and streams accepted and not answered yet"),
            "streams": gauge("streams_in_flight", "Streams accepted and not finished yet"),
            "accepted_s": gauge("accepted_audio_seconds", "Audio of recordings accepted and not answered yet"),
            "segments": gauge("queue_segments", "Segments that wait for an engine"),
            "queued_s": gauge("queue_audio_seconds", "Audio that waits for an engine"),
            "oldest_s": gauge("queue_oldest_seconds", "Age of the segment that has waited longest for an engine"),
            "rtfx": gauge("rtfx", "Audio seconds recognised per second in which at least one batch ran"),
            "standing_by": gauge("workers_standing_by", "Workers that are warmed up beside the one that works"),
            "restarts": gauge("worker_restarts", "Workers that crashed or hung and were started anew"),
        }
        self._audio = counter("audio_seconds", "Audio recognised, padding not counted")
        self._rejected = counter("rejected", "Requests turned away", "reason")
        self._answered = counter("requests", "Requests answered", "status")
        self._size = histogram("batch_size", "Segments in a batch", _SIZES)
        self._padding = histogram("batch_padding_share", "Share of a batch that is padding", _SHARES)
        self._stage = histogram(
            "stage_seconds", "Wall seconds that a request or a batch spent in a stage", _SECONDS, "stage"
        )

    def rejected(self, reason: str) -> None:
        """Count a request that was turned away, by the reason of its ``Rejected``."""
        self._rejected.labels(reason).inc()

    def answered(self, status: int) -> None:
        """Count an answered request by its status."""
        self._answered.labels(str(status)).inc()

    def spent(self, stage: str, seconds: float) -> None:
        """Count the seconds of a request in ``receive``, ``recognise`` or ``total``."""
        self._stage.labels(stage).observe(seconds)

    def batches(self, batches: Iterable[Mapping[str, float]]) -> None:
        """Count batches that ran, each by the fields of ``BatchFacts``."""
        for batch in batches:
            self._size.observe(batch["size"])
            self._padding.observe(1 - batch["audio_s"] / batch["padded_s"] if batch["padded_s"] else 0.0)
            self._audio.inc(batch["audio_s"])
            self._stage.labels("queue").observe(max(0.0, batch["waited_s"]))
            self._stage.labels("engine").observe(batch["wall_s"])

    def text(self, now: Mapping[str, float]) -> bytes:
        """Everything, in Prometheus' text format; ``now`` has the gauges' values, see ``Service.gauges``."""
        for name, gauge in self._gauges.items():
            gauge.set(now[name])
        return generate_latest(self._registry)
