"""A recording that is there as a whole, read by one thread and perhaps given up by another."""

from __future__ import annotations

import time
from concurrent.futures import Future

from autotune.recognizer.intake import AudioInput, Intake, IntakePath
from autotune.recognizer.transcript import Transcript

__all__ = ["RecordingRequest"]


class RecordingRequest:
    """One recording on its way; made by ``Recognizer.request``."""

    def __init__(self, path: IntakePath, limit_s: float) -> None:
        self._intake = Intake(path, limit_s)
        self._request = self._intake.begin(time.perf_counter())

    @property
    def future(self) -> Future[Transcript]:
        """Its transcript, once it is read."""
        return self._request.future

    def read(self, audio: AudioInput) -> None:
        """Read, cut and queue it, waiting for room; returns when all is queued, or at once if it was abandoned.

        Raises:
            AudioError: it cannot be read; names it.
        """
        try:
            self._intake.take(audio, self._request)
            self._intake.flush()
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Nobody wants it any more: what waits is withdrawn, and the future raises ``CancelledError``."""
        self._intake.abandon()
