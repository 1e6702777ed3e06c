"""The backend: gives jobs to a worker, and replaces a worker that crashes or hangs without losing a job."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import traceback
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from autotune.errors import AutotuneError, TrialError
from autotune.recognizer import Segment, Transcript
from autotune.recognizer.admission import Rejected
from autotune.recognizer.asked import NOTHING, Asked
from autotune.serve.file_job import UNCONDITIONAL, FileJob, Opening
from autotune.serve.live import LiveStream, StreamEvents
from autotune.serve.quarantine import Quarantine
from autotune.serve.wire import BackendError, Message
from autotune.serve.worker_process import WorkerPlan, WorkerProcess, WorkerStatus, in_words

__all__ = ["Backend"]

ATTEMPTS = 2
"""Workers that may die while they have a job at work: one that kills two would kill every worker that gets it."""
LIVED_S = 10.0
"""Seconds of being ready after which a lost worker is replaced at once."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Seconds before any other worker is replaced, doubled each time: one that can't start must not take all CPU."""
GIVE_UP = 4
"""Times ``absent_s`` without a worker after which the server ends: whoever started it shall start it anew."""
LOOK_S = 1.0
"""Seconds between two looks at the workers."""


class Backend:
    """Gives every job to the working worker, and again to the next one if that is lost.

    One worker works. A standby, if there is one, takes over all jobs when that one is lost. Whatever was at work in a
    worker when it died (what an engine ran, and what was being opened or read) is then suspected: the next worker gets
    these jobs alone, one after the other, the oldest first, and all others after them. So one recording that kills
    workers harms no other. For the event loop in which it was made.
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
            on_restart: called with the reason when a worker is lost, or can't be started.
        """
        self._plan, self._slots = plan, 2 if standby else 1
        self._on_batches, self._on_restart = on_batches, on_restart
        self._numbers = itertools.count(1)
        self._jobs: dict[int, FileJob | LiveStream] = {}
        """What isn't answered, the oldest first."""
        self._running: frozenset[int] = frozenset()
        """Jobs that an engine of the working worker runs, as it has said last."""
        self._quarantine = Quarantine()
        self._workers: dict[int, WorkerProcess] = {}
        self._working: WorkerProcess | None = None
        self._closing = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._absent_s = 0.0
        """Seconds, as looks count them, since there was a working worker."""
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Raises once no worker will come up any more; never done otherwise."""
        self.restarts = 0
        """Workers that were lost after they had been ready."""

    @property
    def ready(self) -> bool:
        """Whether a worker is loaded, warmed up and listening."""
        return self._working is not None

    @property
    def absent(self) -> bool:
        """Whether there has been no worker for longer than requests wait for one."""
        return self._absent_s > self._plan.absent_s

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
        self._begin(self._watch())
        self._begin(self._supervise(0))
        await self._first
        # Only now: two workers that load at once compete for the cores, and the server is ready later.
        for slot in range(1, self._slots):
            self._begin(self._supervise(slot))

    async def close(self) -> None:
        """End the workers; jobs that still wait fail because the server stops."""
        self._closing.set()
        for worker in self._workers.values():
            worker.end()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.fail_all("the server is stopping")
        if not self.gone.cancel():
            self.gone.exception()  # asyncio warns of an exception that nobody looked at

    async def transcribe(
        self,
        path: Path,
        asked: Asked = NOTHING,
        on_segment: Callable[[Segment], None] | None = None,
        opening: Opening = UNCONDITIONAL,
    ) -> Transcript:
        """Transcribe a file; cancelling it withdraws it from the worker.

        ``on_segment`` is called with each segment, in order, once it is settled, but not with windows that overlap.

        Raises:
            AudioError: it can't be read.
            Rejected: ``opening`` doesn't admit it, or the same file has killed two workers lately, each while it was
                alone at work.
            BackendError: two workers failed on it, or none came up in time.
        """
        if await self._quarantine.holds(path):
            raise Rejected(
                "quarantined", "The recognizer has failed on this recording twice. It is not tried again.", status=422
            )
        # Numbers outlive workers: what a dying worker still sends can't be taken for an answer to a later job.
        number = next(self._numbers)
        future: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        job = FileJob(number, path, asked, on_segment, opening, future, self._send)
        self._take(job)
        try:
            transcript = await future
            if job.suspect:
                await self._quarantine.clear(path)
            return transcript
        except (asyncio.CancelledError, Rejected):
            if job.begun:
                self._send({"op": "drop", "id": number})
            raise
        finally:
            self._forget(number)

    def open(self, rate_hz: int, events: StreamEvents, asked: Asked = NOTHING) -> LiveStream:
        """Open a recording that arrives at its own pace, ``rate_hz`` samples a second; ``LiveStream.close`` ends it."""
        number = next(self._numbers)
        stream = LiveStream(number, rate_hz, events, self._send, lambda: self._forget(number), asked=asked)
        self._take(stream)
        return stream

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work for as long as the backend lives; if it fails, which nothing foresees, there is no backend."""

        def over(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None and not self.gone.done():
                self.gone.set_exception(error)

        task = asyncio.create_task(work)
        task.add_done_callback(over)
        self._tasks.append(task)

    def _take(self, job: FileJob | LiveStream) -> None:
        if self.absent:
            job.fail(self._no_worker())
        self._jobs[job.number] = job
        self._give()

    def _forget(self, number: int) -> None:
        if self._jobs.pop(number, None) is not None:
            self._give()

    def _give(self) -> None:
        """Give the working worker the jobs that it hasn't: all, or where there are suspects, the oldest of them."""
        if self._working is None:
            return
        jobs = [job for job in self._jobs.values() if not job.over]
        suspects = [job for job in jobs if job.suspect]
        for job in suspects[:1] or jobs:
            if not job.begun:
                job.begin()

    def _send(self, message: Message, content: bytes = b"") -> None:
        """Send to the working worker. Without one nothing is sent: ``_elect`` sends all jobs to the next."""
        if self._working is not None:
            self._working.send(message, content)

    async def _supervise(self, slot: int) -> None:
        """Keep one worker alive until the backend closes. An error of the very first start ends the server instead."""
        pause_s = FIRST_PAUSE_S
        while not self._closing.is_set():
            worker = None
            try:
                self._workers[slot] = worker = self._worker()
                why = await worker.run()
            except Exception as error:  # noqa: BLE001 - no descriptor, no disk, anything: there must be a next worker
                why = in_words(error) if isinstance(error, AutotuneError) else traceback.format_exc()
                # What keeps the very first from starting (a wrong model, say) would keep every other as well.
                if not self._first.done():
                    self._first.set_exception(error if isinstance(error, AutotuneError) else TrialError(why))
                    return
            if self._closing.is_set():
                return
            if worker is not None and worker.ready_at is not None:
                self.restarts += 1
                pause_s = 0.0 if time.monotonic() - worker.ready_at > LIVED_S else FIRST_PAUSE_S
            self._on_restart(why)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause_s)
            pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * pause_s))

    def _worker(self) -> WorkerProcess:
        return WorkerProcess(
            self._plan,
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
        self._absent_s = 0.0
        if not self._first.done():
            self._first.set_result(None)
        self._give()

    def _lost(self, worker: WorkerProcess) -> None:
        """Suspect what was at work; all jobs continue on the standby, or wait for a new worker."""
        if worker is not self._working:
            return  # a standby, which had no jobs
        self._working = None
        at_work = [job for job in self._jobs.values() if job.begun and (job.busy or job.number in self._running)]
        self._running = frozenset()
        for job in self._jobs.values():
            job.lost()
        if self._closing.is_set():
            return
        for job in at_work:
            job.blame(ATTEMPTS)
        if len(at_work) == 1 and isinstance(at_work[0], FileJob):
            self._quarantine.note(at_work[0].path)
        if (standby := next((each for each in self._workers.values() if each.ready), None)) is not None:
            self._elect(standby)

    def _receive(self, worker: WorkerProcess, message: Message) -> None:
        if worker is not self._working:
            return  # the standby's reports
        if "status" in message:
            self._on_batches(message["status"]["batches"])
            self._clear_streams()
        elif "running" in message:
            self._running = frozenset(message["running"])
        elif (job := self._jobs.get(message["id"])) is not None:
            suspect = job.suspect
            job.receive(message)
            if suspect and not job.suspect:
                self._give()

    def _clear_streams(self) -> None:
        """Suspect streams no longer whose audio has all been heard, without a text that would have cleared them."""
        for job in self._jobs.values():
            if isinstance(job, LiveStream) and job.suspect and job.begun and not job.busy and self.status.idle:
                job.suspect = False
                self._give()
                return

    async def _watch(self) -> None:
        """Look at the workers, and at whether there is one."""
        before = time.monotonic()
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), LOOK_S)
            # At most: while this process itself was frozen, nobody was looked at.
            step_s, before = min(time.monotonic() - before, 2 * LOOK_S), time.monotonic()
            for worker in self._workers.values():
                worker.look(step_s)
            if not self.ready and self._first.done():
                self._absent_s += step_s
            if self.absent:
                for job in self._jobs.values():
                    job.fail(self._no_worker())
            if self._absent_s > GIVE_UP * self._plan.absent_s:
                raise self._no_worker()

    def _no_worker(self) -> BackendError:
        return BackendError(f"No recognizer came up within {self._plan.absent_s:g} s.")

    def fail_all(self, why: str) -> None:
        """End all jobs with an error that says why."""
        for job in self._jobs.values():
            job.fail(BackendError(f"This recording was not answered: {why}."))
