"""A recording that arrives at its own pace: segments are recognised as soon as they are settled."""

from __future__ import annotations

import time
from concurrent.futures import Future

from autotune.audio.reading import Float32
from autotune.recognizer.chunking import Piece
from autotune.recognizer.intake import IntakePath, check_samples
from autotune.recognizer.request import Request
from autotune.recognizer.transcript import Transcript

__all__ = ["RecognizerStream"]


class RecognizerStream:
    """One recording, fed piece by piece; for one thread. Made by ``Recognizer.stream``."""

    def __init__(self, path: IntakePath) -> None:
        self._path = path
        self._chunker = path.chunkers.new(None, live=True)
        self._request = Request(time.perf_counter())
        self._samples = 0
        self._finished = False

    def feed(self, samples: Float32) -> None:
        """Take the next samples: float32 [any number], 16 kHz mono, in −1..1. The array may be used again at once.

        Raises:
            AudioError: of another type or shape, or not finite.
            RuntimeError: after ``finish``, or the recognizer was closed.
        """
        if self._finished:
            raise RuntimeError("the stream must be open to take audio, but finish() was called")
        own = check_samples(samples).copy()
        self._samples += len(own)
        with self._path.stats.stage("chunk"):
            pieces = self._chunker.push(own)
        self._send(pieces)

    def finish(self) -> Future[Transcript]:
        """Recognise the rest; the future gives the whole transcript. Calling it again gives the same future."""
        if not self._finished:
            self._finished = True
            with self._path.stats.stage("chunk"):
                pieces = self._chunker.finish()
            self._send(pieces)
            self._request.seal(self._samples)
        return self._request.future

    def _send(self, pieces: list[Piece]) -> None:
        if not pieces:
            return
        now = time.perf_counter()
        with self._path.stats.stage("features"):
            jobs = [self._request.add(piece, self._path.content(piece.samples), now) for piece in pieces]
        self._path.dispatcher.put(jobs)
