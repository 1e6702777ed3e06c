"""Intake: recordings are read, cut and queued block by block, no faster than the engines take segments away."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autotune.arrays import Float32
from autotune.audio.mixing import Mixer
from autotune.audio.reading import open_audio, sides_of
from autotune.deployment import Deployment
from autotune.errors import AudioError
from autotune.options import Side
from autotune.recognizer.asked import NOTHING, Asked
from autotune.recognizer.chunking import Chunker, Chunkers
from autotune.recognizer.dispatcher import Dispatcher, SegmentJob
from autotune.recognizer.punctuation import Punctuator
from autotune.recognizer.request import Request
from autotune.recognizer.scheduling import Lots
from autotune.recognizer.stats import Stats
from autotune.recognizer.transcript import Segment

__all__ = [
    "AudioInput",
    "Intake",
    "IntakePath",
    "OpenedInput",
    "Reader",
    "check_samples",
    "open_input",
    "queue_limit_s",
    "sides_heard",
]

AudioInput = Path | str | Float32
"""A file's path, or float32 samples [samples], 16 kHz mono, in −1..1."""

BATCHES_AHEAD = 4
"""Full batches of each instance that may wait: enough to sort segments by length."""
LIMIT_S = 600.0
"""Seconds of audio that may wait however large the batches are: memory must not grow with a recording's length."""
CANCELLED = "The channels are in opposite phase and would have cancelled each other: one of them was heard."
"""Note on a transcript of which the mean of the channels would have been silence."""
BLOCK_SAMPLES = 1 << 18
"""Samples of an array that are cut at once: 16 s, as of a file."""


def queue_limit_s(deployment: Deployment) -> float:
    """Most seconds of audio that wait for an engine while files are transcribed; a longer segment waits alone.

    Four full batches for each instance, which is enough to sort by length, at most 600 s; but always two of the
    largest batches, or the deployment's ``max_audio_s`` would not be what is measured. FunASR's own path gets whole
    lists of whole recordings.
    """
    if deployment.engine == "funasr":
        return math.inf
    batch_s = deployment.batch.max_audio_s
    return max(min(BATCHES_AHEAD * deployment.instances * batch_s, LIMIT_S), 2 * batch_s)


@dataclass(frozen=True)
class IntakePath:
    """What audio passes on its way to the engines; may be used by many threads."""

    chunkers: Chunkers
    content: Callable[[Float32], Float32]
    """Makes of a waveform what the engine gets: its features, or the waveform itself."""
    dispatcher: Dispatcher
    stats: Stats
    turns: threading.Semaphore
    """One for each CPU: readers take turns block by block, so that a long recording doesn't hold up a short one."""
    punctuator: Punctuator | None = None
    """What punctuates texts; None where they stay as the model gives them."""


class Intake:
    """Recordings of one caller on their way to the dispatcher. Thread-safe; each reading thread has a ``reader``."""

    def __init__(
        self,
        path: IntakePath,
        limit_s: float,
        *,
        asked: Asked = NOTHING,
        readers: int = 1,
        together: bool = False,
    ) -> None:
        """Take nothing yet.

        Args:
            path: what the recordings pass.
            limit_s: most seconds of their audio that wait for an engine.
            asked: what is asked for beside the recordings' texts.
            readers: number of threads that will read them; the room is shared among their lots.
            together: see ``SegmentJob``.
        """
        self.path = path
        self.limit_s = limit_s
        self.gone = False
        """Whether nobody wants the recordings any more."""
        self.lot_s = limit_s / 2 / readers
        self.asked, self._together = asked, together
        self._requests: list[Request] = []

    def begin(
        self, arrival_s: float, on_segment: Callable[[Segment], None] | None = None, side: Side = "mix"
    ) -> Request:
        """Open a request for one recording, to be filled by a reader; arguments as for ``Request``."""
        request = Request(
            arrival_s,
            asked=self.asked,
            side=side,
            owner=self,
            together=self._together,
            on_segment=on_segment,
            punctuator=self.path.punctuator,
        )
        self._requests.append(request)
        return request

    def reader(self) -> Reader:
        """What one thread reads recordings with."""
        return Reader(self)

    @property
    def done_s(self) -> float:
        """Seconds of audio whose texts are there."""
        return sum(request.done_s for request in self._requests)

    def abandon(self) -> None:
        """Withdraw what waits of every recording, and take no more; futures raise ``CancelledError``."""
        self.gone = True
        self.path.dispatcher.withdraw(self)
        for request in list(self._requests):
            request.fail(CancelledError())


class Reader:
    """Brings recordings to the dispatcher in lots, and the next lot while they run. For one thread.

    Features are computed here too, so they are ready when an engine is.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake, self._path = intake, intake.path
        self._lots: Lots[SegmentJob] = Lots(intake.lot_s)

    def take(self, audio: AudioInput, request: Request) -> None:
        """Read and cut one recording, queueing lots as they fill.

        Raises:
            AudioError: it cannot be read; names it.
            RuntimeError: the recognizer was closed.
        """
        clock = _Clock(time.thread_time())
        total = 0
        # Core-seconds of this thread: reading and features run beside the engines, so wall time would count both.
        with open_input(audio, request.side) as opened:
            chunker = self._path.chunkers.new(opened.samples)
            for block in opened.blocks:
                clock.lap("read")
                total += len(block)
                self._cut(request, chunker, block, clock)
                if request.future.done() or self._intake.gone:
                    break  # a segment failed, and with it the recording; or nobody wants it any more
            clock.lap("read")
        self._cut(request, chunker, None, clock)
        request.seal(total, CANCELLED if opened.mixer is not None and opened.mixer.cancelled else "")
        self._path.stats.add_stages(**{name: clock.seconds[name] for name in ("read", "chunk", "features")})

    def flush(self) -> None:
        """Queue what is left, waiting for room."""
        self._put(self._lots.rest())

    def _put(self, lot: list[SegmentJob]) -> None:
        if lot:
            self._path.dispatcher.put(lot, limit_s=self._intake.limit_s, gone=lambda: self._intake.gone)

    def _cut(self, request: Request, chunker: Chunker, block: Float32 | None, clock: _Clock) -> None:
        with self._path.turns:
            pieces = chunker.finish() if block is None else chunker.push(block)
        clock.lap("chunk")
        for piece in pieces:
            with self._path.turns:
                job = request.add(piece, self._path.content(piece.samples))
            clock.lap("features")
            self._put(self._lots.add(job))
            clock.lap("wait")


@dataclass
class _Clock:
    """Core-seconds that the calling thread has spent in each stage."""

    last: float

    def __post_init__(self) -> None:
        self.seconds = {"read": 0.0, "chunk": 0.0, "features": 0.0, "wait": 0.0}

    def lap(self, stage: str) -> None:
        now = time.thread_time()
        self.seconds[stage] += now - self.last
        self.last = now


@dataclass(frozen=True)
class OpenedInput:
    """A recording that is being read."""

    samples: int | None
    blocks: Iterator[Float32]
    mixer: Mixer | None = None
    """What makes mono of a file; None for samples."""


def sides_heard(audio: AudioInput, asked: Asked) -> tuple[Side, ...]:
    """What of a recording is recognised by itself: of a call that is to be split, each side.

    Raises AudioError where it must be opened for that and can't.
    """
    if isinstance(audio, (str, Path)):
        return sides_of(Path(audio), asked.channel)
    return ("left",) if asked.channel == "split" else (asked.channel,)


@contextlib.contextmanager
def open_input(audio: AudioInput, channel: Side = "mix") -> Iterator[OpenedInput]:
    """Open a recording to be read block by block, of a file the channel. Raises AudioError."""
    if isinstance(audio, (str, Path)):
        with open_audio(Path(audio), channel) as file:
            yield OpenedInput(file.samples, file.blocks, file.mixer)
    else:
        samples = check_samples(audio)
        yield OpenedInput(
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
