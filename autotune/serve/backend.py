"""The backend: starts the worker, gives it jobs, and starts it anew when it crashes or hangs: nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.deployment import Deployment
from autotune.errors import AutotuneError, TrialError
from autotune.isolation import run_task
from autotune.recognizer.transcript import Transcript
from autotune.serve.failures import BackendError, error_of
from autotune.serve.live import LiveStream, StreamEvents
from autotune.serve.wire import Message, packed, receive_frame, transcript_from

__all__ = ["Backend", "WorkerPlan", "WorkerStatus"]

ATTEMPTS = 2
"""Workers that a request may meet: the one that failed, and one more."""
LOAD_S = 900.0
"""Longest that loading and warming up may take."""
SILENT_S = 20.0
"""A worker that says nothing for longer hangs: it tells its status twice a second."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Before a worker is started again: longer each time, while none becomes ready."""
_FOREVER_S = 1e9


@dataclass(frozen=True)
class WorkerPlan:
    """What a worker runs."""

    deployment: Deployment
    model_path: Path
    artifact_path: Path | None
    folder: Path
    """Private; the socket lies here."""
    hang_s: float
    """A batch that runs for longer hangs."""


@dataclass(frozen=True)
class WorkerStatus:
    """What the worker said last."""

    queue: Mapping[str, float] = field(default_factory=dict)
    """Fields of ``QueueFacts``."""
    totals: Mapping[str, Any] = field(default_factory=dict)
    """``audio_s``, ``busy_s`` and ``stages_s``, since this worker started."""


@dataclass
class _FileJob:
    path: Path
    future: asyncio.Future[Transcript]
    attempts: int = 1


class Backend:
    """For the event loop in which it was made."""

    def __init__(
        self,
        plan: WorkerPlan,
        *,
        on_batches: Callable[[list[dict[str, float]]], None] = lambda _: None,
        on_restart: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start nothing yet.

        Args:
            plan: what the worker runs.
            on_batches: called with the fields of each ``BatchFacts`` as they come.
            on_restart: called with the reason when a worker is lost.
        """
        self._plan = plan
        self._on_batches, self._on_restart = on_batches, on_restart
        self._numbers = itertools.count(1)
        self._files: dict[int, _FileJob] = {}
        self._streams: dict[int, LiveStream] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._pid: int | None = None
        self._heard_at = time.monotonic()
        self._closing = False
        self._was_ready = False
        """This worker, or the last one."""
        self._why = ""
        self._ready = asyncio.Event()
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self.status = WorkerStatus()
        self.restarts = 0
        """Workers that were lost after they had been ready."""

    @property
    def ready(self) -> bool:
        """Whether a worker is loaded, warmed up and listening."""
        return self._ready.is_set()

    async def start(self) -> None:
        """Start the worker; returns when it is ready. Raises what the first one raised."""
        self._tasks = [asyncio.create_task(self._supervise()), asyncio.create_task(self._watch())]
        await self._first

    async def close(self) -> None:
        """End the worker; whoever still waits hears that the server stops."""
        self._closing = True
        if self._writer is not None:
            self._writer.close()
        self._pid_if_alive(signal.SIGKILL)
        if self._tasks:
            supervisor, watch = self._tasks
            watch.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)
        self._fail_all("the server is stopping")

    async def transcribe(self, path: Path) -> Transcript:
        """Transcribe a file; cancelling it withdraws it from the worker.

        Raises:
            AudioError: it can't be read.
            BackendError: two workers failed on it.
        """
        number = next(self._numbers)
        job = _FileJob(path, asyncio.get_running_loop().create_future())
        self._files[number] = job
        self._send({"op": "file", "id": number, "path": str(path)})
        try:
            return await job.future
        except asyncio.CancelledError:
            self._send({"op": "drop", "id": number})
            raise
        finally:
            del self._files[number]

    def open(self, rate_hz: int, events: StreamEvents) -> LiveStream:
        """A recording that arrives at its own pace; close it with ``LiveStream.close``."""
        number = next(self._numbers)
        stream = LiveStream(number, rate_hz, events, self._send, lambda: self._streams.pop(number, None))
        self._streams[number] = stream
        if self.ready:
            stream.begin()
        return stream

    def _send(self, message: Message, content: bytes = b"") -> None:
        """To the worker, if there is one; what it hasn't heard, the next one is told by ``_tell_all``."""
        if self._writer is not None and self.ready:
            self._writer.write(packed(message, content))

    async def _supervise(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._closing:
            error = await self._one_life()
            if error is not None and not self._first.done():
                self._first.set_exception(error)
                return
            if self._closing:
                return
            self.restarts += self._was_ready
            self._on_restart(self._why or (f"{error}" if error is not None else "it ended"))
            self._why = ""
            pause_s = FIRST_PAUSE_S if self._was_ready else min(LONGEST_PAUSE_S, 2 * pause_s)
            await asyncio.sleep(pause_s)

    async def _one_life(self) -> AutotuneError | None:
        """From start to end of one worker; what ended it, if it didn't leave by itself."""
        self._was_ready = False
        loop = asyncio.get_running_loop()
        connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()
        path = self._plan.folder / "worker.sock"
        path.unlink(missing_ok=True)
        self._heard_at = time.monotonic()

        def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set_result((reader, writer))

        server = await asyncio.start_unix_server(on_connection, path=path)
        ended = self._start_process(loop, path)
        try:
            either: list[asyncio.Future[Any]] = [connected, ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if connected.done():
                await self._converse(*connected.result())
        finally:
            server.close()
            self._pid_if_alive(signal.SIGKILL)
            await asyncio.wait({ended})
            self._pid = None
        return ended.result()

    def _start_process(self, loop: asyncio.AbstractEventLoop, path: Path) -> asyncio.Future[AutotuneError | None]:
        """Run the worker from a thread that lives as long as it does; the future gives what ended it."""
        ended: asyncio.Future[AutotuneError | None] = loop.create_future()
        plan = self._plan
        deployment = plan.deployment
        payload = {
            "deployment": deployment.model_dump(mode="json"),
            "model_path": str(plan.model_path.absolute()),
            "artifact_path": None if plan.artifact_path is None else str(plan.artifact_path.absolute()),
            "socket": str(path),
        }

        def run() -> None:
            found: AutotuneError | None = None
            try:
                run_task(
                    "autotune.serve.worker:serve_task",
                    payload,
                    timeout_s=_FOREVER_S,
                    on_event=self._started,
                    threads=None if deployment.engine == "funasr" else deployment.intra_op_num_threads,
                )
            except AutotuneError as error:
                found = error
            except Exception as error:  # noqa: BLE001 - whatever it is, the server must go on
                found = TrialError(f"{type(error).__name__}: {error}")
            loop.call_soon_threadsafe(ended.set_result, found)

        threading.Thread(target=run, name="autotune-worker", daemon=True).start()
        return ended

    def _started(self, _: str, data: dict[str, Any]) -> None:
        """The worker exists; called by its thread."""
        self._pid = data["pid"]
        if self._closing:
            self._pid_if_alive(signal.SIGKILL)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hear the worker until its end."""
        self._writer, self._was_ready = writer, True
        self._ready.set()
        if not self._first.done():
            self._first.set_result(None)
        try:
            self._tell_all()
            while not self._closing and (message := await receive_frame(reader)) is not None:
                self._heard_at = time.monotonic()
                self._hear(message)
        finally:
            self._ready.clear()
            self._writer, self.status = None, WorkerStatus()
            writer.close()
            self._lost()

    def _tell_all(self) -> None:
        """What was accepted before this worker was ready."""
        for number, job in self._files.items():
            self._send({"op": "file", "id": number, "path": str(job.path)})
        for stream in list(self._streams.values()):
            stream.begin()

    def _lost(self) -> None:
        """Whoever has met two workers that failed hears of it; the others wait for the next."""
        for job in self._files.values():
            job.attempts += 1
            if job.attempts > ATTEMPTS and not job.future.done():
                job.future.set_exception(BackendError("The recognizer failed twice on this recording."))
        for stream in list(self._streams.values()):
            stream.lost(ATTEMPTS)

    def _hear(self, message: Message) -> None:
        if "status" in message:
            status = message["status"]
            self.status = WorkerStatus(status["queue"], status["totals"])
            self._on_batches(status["batches"])
            return
        number = message["id"]
        if (stream := self._streams.get(number)) is not None:
            stream.hear(message)
            return
        job = self._files.get(number)
        if job is None or job.future.done():
            return
        if "done" in message:
            job.future.set_result(transcript_from(message["done"]))
        elif "error" in message:
            job.future.set_exception(error_of(message["error"]))

    async def _watch(self) -> None:
        """End a worker that hangs: it loads for too long, says nothing, or one batch doesn't end."""
        while True:
            await asyncio.sleep(1.0)
            silent_s = time.monotonic() - self._heard_at
            running_s = self.status.queue.get("running_s", 0.0) if self.ready else 0.0
            if silent_s > (SILENT_S if self.ready else LOAD_S):
                self._end_hung(f"it said nothing for {silent_s:.0f} s")
            elif running_s > self._plan.hang_s:
                self._end_hung(f"a batch ran for {running_s:.0f} s")

    def _end_hung(self, why: str) -> None:
        self._why = f"the worker hung: {why}"
        self.status = WorkerStatus()
        self._heard_at = time.monotonic()
        self._pid_if_alive(signal.SIGKILL)

    def _pid_if_alive(self, number: signal.Signals) -> None:
        if self._pid is not None:
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                self._pid = None

    def _fail_all(self, why: str) -> None:
        for job in self._files.values():
            if not job.future.done():
                job.future.set_exception(BackendError(f"This recording was not answered: {why}."))
        for stream in list(self._streams.values()):
            stream.fail(BackendError(f"This stream was not finished: {why}."))
