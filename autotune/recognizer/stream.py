"""A recording that arrives at its own pace: segments are recognised as soon as they are settled."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import replace

from autotune.arrays import Float32
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.options import Side
from autotune.recognizer.asked import NOTHING, Asked
from autotune.recognizer.chunking import Piece, SampleBuffer
from autotune.recognizer.decoding import Decoded, clean_text
from autotune.recognizer.dispatcher import SegmentJob
from autotune.recognizer.intake import AudioInput, Intake, IntakePath, check_samples, sides_heard
from autotune.recognizer.request import Request
from autotune.recognizer.sides import transcript_of
from autotune.recognizer.streaming import MOST_INTERIM_S
from autotune.recognizer.transcript import Segment, Transcript

__all__ = ["RecognizerStream", "RecordingRequest"]

_INTERIM_SAMPLES = round(MOST_INTERIM_S * SAMPLE_RATE_HZ)


class RecognizerStream:
    """One recording, fed piece by piece; for one thread, but ``abandon`` is for any. Made by ``Recognizer.stream``."""

    def __init__(
        self,
        path: IntakePath,
        on_segment: Callable[[Segment], None] | None = None,
        *,
        asked: Asked = NOTHING,
        ahead_s: float = math.inf,
    ) -> None:
        self._path, self._ahead_s = path, ahead_s
        self._chunker = path.chunkers.new(None, live=True)
        # Trials don't ask for segments, and must do the same work as servers: a stream's are always handed out.
        self._request = Request(
            time.perf_counter(), asked=asked, on_segment=on_segment or _nobody, punctuator=path.punctuator
        )
        # An interim text needs no times.
        self._interim_asked = replace(asked, words=False)
        self._unsettled = SampleBuffer()
        self._settled = 0
        """Place of the first sample that lies in no settled piece."""
        self._finished = False
        self._gone = False

    def feed(self, samples: Float32) -> None:
        """Take the next samples: float32 [any number], 16 kHz mono, in −1..1. The array may be used again at once.

        Waits while as much of its segments waits for an engine as its maker allowed.

        Raises:
            AudioError: of another type or shape, or not finite.
            RuntimeError: after ``finish``, or the recognizer was closed.
        """
        if self._finished:
            raise RuntimeError("the stream must be open to take audio, but finish() was called")
        own = check_samples(samples).copy()
        self._unsettled.append(own)
        self._unsettled.forget(max(self._settled, self._unsettled.end - _INTERIM_SAMPLES))
        with self._path.turns, self._path.stats.stage("chunk"):
            pieces = self._chunker.push(own)
        self._queue(self._jobs(pieces))

    @property
    def owner(self) -> object:
        """What ``Recognizer.tell_running`` calls it."""
        return self._request

    @property
    def settled_s(self) -> float:
        """Seconds from its beginning on which no text still to come depends; for the thread that feeds it."""
        needed_s = self._chunker.needed / SAMPLE_RATE_HZ
        unsettled_s = self._request.unsettled_s
        return needed_s if unsettled_s is None else min(needed_s, unsettled_s)

    def interim(self) -> Future[str]:
        """The text of what isn't settled yet, of its last 15 s at most; it may change as more audio comes."""
        future: Future[str] = Future()
        end = self._unsettled.end
        start = max(self._settled, end - _INTERIM_SAMPLES)
        if start >= end or self._gone:
            future.set_result("")
            return future
        samples = self._unsettled.take(start, end)

        def done(_: int, result: Decoded | BaseException) -> None:
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(clean_text(result.text))

        with self._path.turns, self._path.stats.stage("features"):
            content = self._path.content(samples)
        # Not a segment of the request, or it would be in the transcript; but of its owner, to be withdrawn with it.
        job = SegmentJob(
            content,
            len(samples) / SAMPLE_RATE_HZ,
            time.perf_counter(),
            done,
            0,
            self._request,
            asked=self._interim_asked,
        )
        self._path.dispatcher.put([job])
        return future

    def finish(self) -> Future[Transcript]:
        """Recognise the rest; the future gives the whole transcript. Calling it again gives the same future."""
        if not self._finished:
            self._finished = True
            with self._path.turns, self._path.stats.stage("chunk"):
                pieces = self._chunker.finish()
            jobs = self._jobs(pieces)
            # Before they are queued: of a segment that is handed out it must be known whether it is the last.
            self._request.seal(self._unsettled.end)
            self._queue(jobs)
        return self._request.future

    def abandon(self) -> None:
        """Give the recording up: what waits is withdrawn, and the future raises ``CancelledError``."""
        self._gone = True
        self._path.dispatcher.withdraw(self._request)
        self._request.fail(CancelledError())

    def _jobs(self, pieces: list[Piece]) -> list[SegmentJob]:
        if not pieces:
            return []
        self._settled = pieces[-1].stop
        self._unsettled.forget(self._settled)
        now = time.perf_counter()
        with self._path.turns, self._path.stats.stage("features"):
            return [self._request.add(piece, self._path.content(piece.samples), now) for piece in pieces]

    def _queue(self, jobs: list[SegmentJob]) -> None:
        if jobs:
            self._path.dispatcher.put(jobs, limit_s=self._ahead_s, gone=lambda: self._gone)


def _nobody(_: Segment) -> None:
    """For a stream whose caller wants the text at its end alone."""


class RecordingRequest:
    """One recording that a thread reads and queues; made by ``Recognizer.request``."""

    def __init__(
        self,
        path: IntakePath,
        limit_s: float,
        on_segment: Callable[[Segment], None] | None = None,
        *,
        asked: Asked = NOTHING,
    ) -> None:
        self._intake = Intake(path, limit_s, asked=asked)
        self._reader = self._intake.reader()
        sides: tuple[Side, ...] = ("left", "right") if asked.channel == "split" else (asked.channel,)
        # Of a call's two sides, read one after the other, nothing can be handed out in order before the end.
        on_segment = on_segment if len(sides) == 1 else None
        self._sides = {side: self._intake.begin(time.perf_counter(), on_segment, side) for side in sides}

    @property
    def owner(self) -> object:
        """What ``Recognizer.tell_running`` calls it."""
        return self._intake

    @property
    def future(self) -> Future[Transcript]:
        """Gives the transcript once the recording has been read and recognised; of a call, one side's."""
        return next(iter(self._sides.values())).future

    def result(self) -> Transcript:
        """Wait for the transcript of what ``read`` has queued. Raises what its recognition raised."""
        return transcript_of(self._intake.asked, self._sides)

    def read(self, audio: AudioInput) -> None:
        """Read, cut and queue it, waiting for room; returns when all is queued, or at once if it was abandoned.

        Raises:
            AudioError: it cannot be read; names it.
        """
        try:
            self._sides = {side: self._sides[side] for side in sides_heard(audio, self._intake.asked)}
            for request in self._sides.values():
                self._reader.take(audio, request)
            self._reader.flush()
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Give the recording up: what waits is withdrawn, and the future raises ``CancelledError``."""
        self._intake.abandon()
