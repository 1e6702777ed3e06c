"""Intake: recordings are read, cut and queued block by block, no faster than the engines take segments away."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotune.audio.reading import Float32, open_audio
from autotune.deployment import Deployment
from autotune.errors import AudioError
from autotune.recognizer.chunking import Chunker, Chunkers
from autotune.recognizer.dispatcher import Dispatcher, SegmentJob
from autotune.recognizer.request import Request

__all__ = ["AudioInput", "Intake", "check_samples", "queue_limit_s"]

AudioInput = Path | str | Float32
"""A file's path, or float32 samples [samples], 16 kHz mono, in −1..1."""

BATCHES_AHEAD = 4
LIMIT_S = 600.0
BLOCK_SAMPLES = 1 << 18


def queue_limit_s(deployment: Deployment) -> float:
    """Most seconds of audio that wait for an engine while files are transcribed; one longer segment may still.

    Four full batches for each instance, which is enough to sort by length, at most 600 s; but always two of the
    largest batches, or the deployment's ``max_audio_s`` would not be what is measured.
    """
    batch_s = deployment.batch.max_audio_s
    return max(min(BATCHES_AHEAD * deployment.instances * batch_s, LIMIT_S), 2 * batch_s)


class Intake:
    """Brings recordings to the dispatcher in lots of half the queue: whole batches, and the next lot while they run.

    For one thread and one call of ``transcribe``.
    """

    def __init__(self, dispatcher: Dispatcher, chunkers: Chunkers, limit_s: float) -> None:
        self._dispatcher = dispatcher
        self._chunkers = chunkers
        self._limit_s = limit_s
        self._lot: list[SegmentJob] = []
        self._lot_s = 0.0
        self._requests: list[Request] = []

    def take(self, audio: AudioInput, arrival_s: float) -> Request:
        """Read and cut one recording, queueing lots as they fill.

        Raises:
            AudioError: it cannot be read; names it.
            RuntimeError: the recognizer was closed.
        """
        request = Request(arrival_s)
        self._requests.append(request)
        clock = _Clock(time.perf_counter())
        total = 0
        with _open(audio) as opened:
            chunker = self._chunkers.new(opened.samples)
            for block in opened.blocks:
                clock.lap("read")
                total += len(block)
                self._cut(request, chunker, block, clock)
                if request.future.done():
                    break  # a segment failed, and with it the recording
            clock.lap("read")
        self._cut(request, chunker, None, clock)
        request.seal(total)
        self._dispatcher.add_time(read=clock.seconds["read"], chunk=clock.seconds["chunk"])
        return request

    def flush(self) -> None:
        """Queue what is left, waiting for room."""
        lot, self._lot, self._lot_s = self._lot, [], 0.0
        if lot:
            self._dispatcher.put(lot, limit_s=self._limit_s)

    def abandon(self) -> None:
        """Withdraw what waits of every recording taken; what runs comes to nothing."""
        self._lot = []
        for request in self._requests:
            self._dispatcher.withdraw(request)

    def _cut(self, request: Request, chunker: Chunker, block: Float32 | None, clock: _Clock) -> None:
        pieces = chunker.finish() if block is None else chunker.push(block)
        clock.lap("chunk")
        for piece in pieces:
            self._lot.append(request.add(piece))
            self._lot_s += self._lot[-1].audio_s
            if 2 * self._lot_s >= self._limit_s:
                self.flush()
        clock.lap("wait")


@dataclass
class _Clock:
    """Wall seconds by stage."""

    last: float

    def __post_init__(self) -> None:
        self.seconds = {"read": 0.0, "chunk": 0.0, "wait": 0.0}

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] += now - self.last
        self.last = now


@dataclass(frozen=True)
class _Opened:
    samples: int
    blocks: Iterator[Float32]


@contextlib.contextmanager
def _open(audio: AudioInput) -> Iterator[_Opened]:
    if isinstance(audio, (str, Path)):
        with open_audio(Path(audio)) as file:
            yield _Opened(file.samples, file.blocks)
    else:
        samples = check_samples(audio)
        yield _Opened(
            len(samples), (samples[start : start + BLOCK_SAMPLES] for start in range(0, len(samples), BLOCK_SAMPLES))
        )


def check_samples(audio: object) -> Float32:
    """``audio`` if it is float32 samples [samples], all finite. Raises AudioError otherwise."""
    if not isinstance(audio, np.ndarray) or audio.ndim != 1 or audio.dtype != np.float32:
        got = f"{audio.dtype} {audio.shape}" if isinstance(audio, np.ndarray) else type(audio).__name__
        raise AudioError(f"Audio must be a path or float32 samples [samples] at 16 kHz, but got {got}.")
    if not np.isfinite(audio).all():
        raise AudioError("Audio must be finite samples, but some are NaN or infinite.")
    return audio
