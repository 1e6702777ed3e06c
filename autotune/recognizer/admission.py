"""Admission: what servers and simulations take in, and what is turned away before any work is spent on it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from autotune.errors import AutotuneError

__all__ = ["Admission", "Limits", "Rejected"]

SHORTEST_RETRY_S, LONGEST_RETRY_S = 1, 60
"""Bounds of ``Retry-After``, seconds."""


class Rejected(AutotuneError):  # noqa: N818 - an answer, not a failure
    """A request is turned away.

    Attributes:
        reason: one word for metrics.
        status: HTTP's status of the answer.
        retry_after_s: seconds until another attempt may succeed; None: the same request never will.
    """

    def __init__(self, reason: str, message: str, *, status: int, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.reason, self.status, self.retry_after_s = reason, status, retry_after_s


@dataclass(frozen=True)
class Limits:
    """How much a server takes in."""

    queue_s: float
    """Seconds of audio that may be accepted and not answered yet; a longer recording is taken where nothing waits."""
    requests: int
    """Files that may be answered at once."""
    streams: int
    """Streams that may be open at once."""
    duration_s: float
    """Longest recording, seconds."""
    body_bytes: int
    """Largest upload."""


class Admission:
    """Counts what is accepted and not answered yet. For one thread, the server's."""

    def __init__(self, limits: Limits, rtfx: float) -> None:
        """Begin with nothing accepted.

        Args:
            limits: how much is taken in.
            rtfx: seconds of audio that the deployment recognises in a second, for ``Retry-After``.
        """
        self.limits = limits
        self._rtfx = rtfx
        self.queued_s = 0.0
        self.requests = 0
        self._recordings = 0
        """Requests whose audio is in ``queued_s``."""
        self.streams = 0
        self.draining = False
        """Whether the server stops: nothing new is taken in any more."""

    @property
    def inside(self) -> int:
        """Requests and streams that are accepted and not answered yet."""
        return self.requests + self.streams

    def check(self) -> None:
        """Raise Rejected if a recording would be turned away now, whatever its length."""
        self._check_place()
        self._check_audio(0.0)

    def check_stream(self) -> None:
        """Raise Rejected if a stream would be turned away now."""
        self._check_draining()
        if self.streams >= self.limits.streams:
            raise self._full("too_many_streams", f"{self.limits.streams} streams are being heard")

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for a request whose audio isn't known yet. Raises Rejected."""
        self._check_place()
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    @contextlib.contextmanager
    def audio(self, audio_s: float, sides: int = 1) -> Iterator[None]:
        """Hold room for the audio of what has a place, also while the server stops: it was begun. Raises Rejected.

        Args:
            audio_s: length of the recording.
            sides: how many of its channels are recognised, each by itself.
        """
        self._check_length(audio_s)
        audio_s *= sides
        self._check_audio(audio_s)
        self._recordings += 1
        self.queued_s += audio_s
        try:
            yield
        finally:
            self._recordings -= 1
            # Exactly 0 once nothing is left: the rounding errors of sums would count as a queue.
            self.queued_s = max(0.0, self.queued_s - audio_s) if self._recordings else 0.0

    @contextlib.contextmanager
    def recording(self, audio_s: float) -> Iterator[None]:
        """Hold a place and room for a recording. Raises Rejected."""
        with self.place(), self.audio(audio_s):
            yield

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Hold a place for a stream. Raises Rejected."""
        self.check_stream()
        self.streams += 1
        try:
            yield
        finally:
            self.streams -= 1

    def _check_place(self) -> None:
        self._check_draining()
        if self.requests >= self.limits.requests:
            raise self._full("too_many_requests", f"{self.limits.requests} requests are being answered")

    def _check_length(self, audio_s: float) -> None:
        limits = self.limits
        if audio_s > limits.duration_s:
            raise Rejected(
                "too_long",
                f"A recording must be at most {limits.duration_s:g} s long, but this one has {audio_s:.0f} s. Cut it.",
                status=413,
            )

    def _check_audio(self, audio_s: float) -> None:
        # An empty queue takes any length that is allowed, or a recording longer than the queue would never be accepted.
        if self.queued_s and self.queued_s + audio_s > self.limits.queue_s:
            raise self._full("queue_full", f"{self.queued_s:.0f} s of audio are waiting")

    def _check_draining(self) -> None:
        if self.draining:
            raise Rejected(
                "draining", "The server is stopping. Ask another one.", status=503, retry_after_s=LONGEST_RETRY_S
            )

    def _full(self, reason: str, what: str) -> Rejected:
        wait_s = math.ceil(self.queued_s / self._rtfx)
        return Rejected(
            reason,
            f"The server is full: {what}. Try again later.",
            status=429,
            retry_after_s=max(SHORTEST_RETRY_S, min(LONGEST_RETRY_S, wait_s)),
        )
