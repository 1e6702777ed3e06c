"""What became of each recording that was to be sent."""

from __future__ import annotations

import math
from typing import Literal

from autotune.documents import Document

__all__ = ["Request", "Status"]

Status = Literal["ok", "rejected", "timeout", "failed", "unsent"]
"""``rejected``: the server said that it is overloaded or not ready (429, 503, 1013). ``timeout``: no text in time.
``failed``: any other error, or a lost connection. ``unsent``: the client ran out of sockets, ports or memory."""


class Request(Document):
    """One recording that was to be sent. Times are seconds after the run's start."""

    recording: str
    """Its id."""
    audio_s: float
    scheduled_s: float
    """When it was to be sent, or to begin to be spoken."""
    counted_from_s: float
    """From when its latency counts: ``scheduled_s``, or when its last sample was to be spoken."""
    sent_s: float
    """When the client began with it."""
    settled_s: float
    """When it was over: with its whole text, an error, or the time-out."""
    lag_s: float
    """How much later than due the client sent what the latency counts from: the recording, or its last block. The
    server has no part in it."""
    status: Status
    detail: str = ""
    """What went wrong, such as ``HTTP 429``."""
    text: str | None = None
    """None unless ``ok``."""

    @property
    def latency_s(self) -> float:
        """From ``counted_from_s`` to the whole text; ``inf`` without one, so that errors are over-latency."""
        return self.settled_s - self.counted_from_s if self.status == "ok" else math.inf
