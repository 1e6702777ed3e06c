"""The backend: gives jobs to a worker, and replaces a worker that crashes or hangs without losing a job."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from autotune.audio.sound_part import MOST_S
from autotune.errors import AutotuneError
from autotune.recognizer import Segment, Transcript
from autotune.recognizer.admission import Rejected
from autotune.recognizer.asked import NOTHING, Asked
from autotune.serve.live import LiveStream, StreamEvents
from autotune.serve.wire import BackendError, Message, error_of, segment_from, transcript_from
from autotune.serve.worker_process import WorkerPlan, WorkerProcess, WorkerStatus

__all__ = ["Backend", "Opening"]

ATTEMPTS = 2
"""Workers that may fail on one request: a recording that kills two would kill every worker that gets it."""
LIVED_S = 10.0
"""Seconds of being ready after which a lost worker is replaced at once."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Seconds before any other worker is replaced, doubled each time: one that can't start must not take all CPU."""


@dataclass(frozen=True)
class Opening:
    """What happens once a worker knows how long a recording is."""

    admit: Callable[[float], None] = lambda _: None
    """Called with its seconds, once; raises Rejected where it isn't to be recognised."""
    most_s: float = MOST_S
    """Seconds behind which it isn't decoded any further for its length."""


@dataclass
class _PendingFile:
    path: Path
    asked: Asked
    on_segment: Callable[[Segment], None] | None
    opening: Opening
    future: asyncio.Future[Transcript]
    admitted: bool = False
    attempts: int = 1
    told: int = 0
    """Segments that ``on_segment`` has been called with."""
    skipped: int = 0
    """Of those, how many the present worker has sent again."""


class Backend:
    """Gives every job to the working worker, and again to the next one if that is lost.

    One worker works. A standby, if there is one, takes over all jobs when that one is lost. For the event loop in which
    it was made.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        *,
        standby: bool = False,
        on_batches: Callable[[list[dict[str, float]]], None] = lambda _: None,
        on_restart: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Remember what to run; ``start`` starts the workers.

        Args:
            plan: what a worker runs.
            standby: keep a second one loaded.
            on_batches: called with the fields of each ``BatchFacts`` as they come.
            on_restart: called with the reason when a worker is lost.
        """
        self._plan, self._slots = plan, 2 if standby else 1
        self._on_batches, self._on_restart = on_batches, on_restart
        self._numbers = itertools.count(1)
        self._files: dict[int, _PendingFile] = {}
        self._streams: dict[int, LiveStream] = {}
        self._workers: dict[int, WorkerProcess] = {}
        self._working: WorkerProcess | None = None
        self._closing = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._supervisors: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None
        self.restarts = 0
        """Workers that were lost after they had been ready."""

    @property
    def ready(self) -> bool:
        """Whether a worker is loaded, warmed up and listening."""
        return self._working is not None

    @property
    def standing_by(self) -> int:
        """Workers that are ready beside the one that works."""
        return sum(worker.ready for worker in self._workers.values() if worker is not self._working)

    @property
    def status(self) -> WorkerStatus:
        """The working worker's last report."""
        return self._working.status if self._working is not None else WorkerStatus()

    async def start(self) -> None:
        """Start the first worker and wait until it is ready. Raises what its start raised."""
        self._watch = asyncio.create_task(self._end_hung())
        self._supervise_slot()
        await self._first
        # Only now: two workers that load at once compete for the cores, and the server is ready later.
        while len(self._supervisors) < self._slots:
            self._supervise_slot()

    async def close(self) -> None:
        """End the workers; jobs that still wait fail because the server stops."""
        self._closing.set()
        for worker in self._workers.values():
            worker.end()
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        self._fail_all("the server is stopping")

    async def transcribe(
        self,
        path: Path,
        asked: Asked = NOTHING,
        on_segment: Callable[[Segment], None] | None = None,
        opening: Opening = Opening(),
    ) -> Transcript:
        """Transcribe a file; cancelling it withdraws it from the worker.

        ``on_segment`` is called with each segment, in order, once it is settled, but not with windows that overlap.

        Raises:
            AudioError: it can't be read.
            Rejected: ``opening`` doesn't admit it.
            BackendError: two workers failed on it.
        """
        # Numbers outlive workers: what a dying worker still sends can't be taken for an answer to a later job.
        number = next(self._numbers)
        job = _PendingFile(path, asked, on_segment, opening, asyncio.get_running_loop().create_future())
        self._files[number] = job
        self._send(_file_order(number, job))
        try:
            return await job.future
        except (asyncio.CancelledError, Rejected):
            self._send({"op": "drop", "id": number})
            raise
        finally:
            del self._files[number]

    def open(self, rate_hz: int, events: StreamEvents, asked: Asked = NOTHING) -> LiveStream:
        """Open a recording that arrives at its own pace, ``rate_hz`` samples a second; ``LiveStream.close`` ends it."""
        number = next(self._numbers)
        stream = LiveStream(number, rate_hz, events, self._send, lambda: self._streams.pop(number, None), asked=asked)
        self._streams[number] = stream
        if self.ready:
            stream.begin()
        return stream

    def _send(self, message: Message, content: bytes = b"") -> None:
        """Send to the working worker. Without one nothing is sent: ``_elect`` sends all jobs to the next."""
        if self._working is not None:
            self._working.send(message, content)

    def _supervise_slot(self) -> None:
        self._supervisors.append(asyncio.create_task(self._supervise(len(self._supervisors))))

    async def _supervise(self, slot: int) -> None:
        """Keep one worker alive until the backend closes. An error of the very first start ends the server instead."""
        pause_s = FIRST_PAUSE_S
        while not self._closing.is_set():
            self._workers[slot] = worker = self._worker(slot)
            try:
                why = await worker.run()
            except AutotuneError as error:
                # What keeps the very first from starting (a wrong model, say) would keep every other as well.
                if not self._first.done():
                    self._first.set_exception(error)
                    return
                why = f"{error}"
            if self._closing.is_set():
                return
            if worker.ready_at is not None:
                self.restarts += 1
                pause_s = 0.0 if time.monotonic() - worker.ready_at > LIVED_S else FIRST_PAUSE_S
            self._on_restart(why)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause_s)
            pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * pause_s))

    def _worker(self, slot: int) -> WorkerProcess:
        return WorkerProcess(
            self._plan,
            f"worker-{slot}",
            on_ready=self._elect,
            on_message=self._receive,
            on_lost=self._lost,
            # Requests already wait for a replacing worker: it doesn't warm up shapes that they may never have.
            hurried=self._first.done(),
        )

    def _elect(self, worker: WorkerProcess) -> None:
        """Make this the working worker, unless there is one, and send it every job that isn't answered."""
        if self._working is not None or self._closing.is_set():
            return
        self._working = worker
        if not self._first.done():
            self._first.set_result(None)
        for number, job in self._files.items():
            self._send(_file_order(number, job))
        for stream in list(self._streams.values()):
            stream.begin()

    def _lost(self, worker: WorkerProcess) -> None:
        """Fail jobs that have met two dying workers; the others continue on the standby, or wait for a new worker."""
        if worker is not self._working:
            return  # a standby, which had no jobs
        self._working = None
        for job in self._files.values():
            job.attempts += 1
            job.skipped = 0
            if job.attempts > ATTEMPTS and not job.future.done():
                job.future.set_exception(BackendError("The recognizer failed twice on this recording."))
        for stream in list(self._streams.values()):
            stream.lost(ATTEMPTS)
        if (standby := next((each for each in self._workers.values() if each.ready), None)) is not None:
            self._elect(standby)

    def _receive(self, worker: WorkerProcess, message: Message) -> None:
        if worker is not self._working:
            return  # the standby's reports
        if "status" in message:
            self._on_batches(message["status"]["batches"])
            return
        number = message["id"]
        if (stream := self._streams.get(number)) is not None:
            stream.receive(message)
            return
        job = self._files.get(number)
        if job is None or job.future.done():
            return
        if "opened" in message:
            self._opened(number, job, message["opened"])
        elif "segment" in message:
            # A worker that replaces another begins anew; the same recording is cut in the same way.
            if job.skipped < job.told:
                job.skipped += 1
            elif job.on_segment is not None:
                job.told += 1
                job.skipped += 1
                job.on_segment(segment_from(message["segment"]))
        elif "done" in message:
            job.future.set_result(transcript_from(message["done"]))
        elif "error" in message:
            job.future.set_exception(error_of(message["error"]))

    def _opened(self, number: int, job: _PendingFile, audio_s: float) -> None:
        """Have the worker go on with a recording that is admitted; one that replaces another asks again."""
        if not job.admitted:
            try:
                job.opening.admit(audio_s)
            except Rejected as rejected:
                job.future.set_exception(rejected)
                return
            job.admitted = True
        self._send({"op": "go", "id": number})

    async def _end_hung(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for worker in self._workers.values():
                worker.end_if_hung()

    def _fail_all(self, why: str) -> None:
        for job in self._files.values():
            if not job.future.done():
                job.future.set_exception(BackendError(f"This recording was not answered: {why}."))
        for stream in list(self._streams.values()):
            stream.fail(BackendError(f"This stream was not finished: {why}."))


def _file_order(number: int, job: _PendingFile) -> Message:
    return {
        "op": "file",
        "id": number,
        "path": str(job.path),
        "asked": asdict(job.asked),
        "segments": job.on_segment is not None,
        "most_s": job.opening.most_s,
    }
