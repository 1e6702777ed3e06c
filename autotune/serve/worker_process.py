"""A worker as the server sees it: one process, from its start to its end."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune.deployment import Deployment
from autotune.errors import AutotuneError, TrialError
from autotune.isolation import Stop, run_task
from autotune.measure.gpu_counters import gpu_watch
from autotune.serve.wire import Message, packed, receive_frame

__all__ = ["ServedFiles", "WorkerPlan", "WorkerProcess", "WorkerStatus", "in_words"]

LOAD_S = 900.0
"""Seconds that loading and warming up may take."""
SILENT_S = 20.0
"""Seconds after which a silent worker hangs: it reports its status twice a second."""
_FOREVER_S = 1e9
"""Time limit of a worker's task, which ends with the server."""


@dataclass(frozen=True)
class ServedFiles:
    """What a recognizer is loaded from."""

    model: Path
    """FunASR's model directory."""
    artifact: Path | None = None
    """What the engine loads; None where it is the model directory."""
    punctuation: Path | None = None
    """What punctuation is loaded from; None without it."""
    hot_words: Path | None = None
    """What the engine loads for batches with hot words; None where it is the model directory, or there are none."""


@dataclass(frozen=True)
class WorkerPlan:
    """Deployment that a worker runs, its files, and how long that may take."""

    deployment: Deployment
    files: ServedFiles
    hang_s: Callable[[float], float]
    """Seconds after which a batch of so many padded seconds hangs."""
    absent_s: float
    """Seconds that requests wait while there is no worker."""
    hot_words: tuple[str, ...] | None = None
    """Hot words of every request; None: it is loaded without."""


@dataclass(frozen=True)
class WorkerStatus:
    """The last status that a worker has sent; empty before the first."""

    queue: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``QueueFacts``."""
    totals: Mapping[str, Any] = field(default_factory=dict)
    """``audio_s``, ``busy_s`` and ``stages_s``, since this worker started."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return bool(self.queue) and not self.queue["segments"] and not self.queue["running"]


class WorkerProcess:
    """A worker from its start to its end, never started again; for the event loop in which it was made."""

    def __init__(
        self,
        plan: WorkerPlan,
        *,
        on_ready: Callable[[WorkerProcess], None],
        on_message: Callable[[WorkerProcess, Message], None],
        on_lost: Callable[[WorkerProcess], None],
        hurried: bool = False,
    ) -> None:
        """Remember what to run; ``run`` starts the process.

        Args:
            plan: what it runs.
            on_ready: called once it is loaded, warmed up and listening.
            on_message: called with every message of the worker, statuses included.
            on_lost: called when it no longer listens, if it ever did.
            hurried: whether it is ready after its smallest batch, instead of after batches of every shape.
        """
        self._plan, self._hurried = plan, hurried
        self._on_ready, self._on_message, self._on_lost = on_ready, on_message, on_lost
        self._writer: asyncio.StreamWriter | None = None
        self._stop = Stop()
        self._ending = False
        self._silent_s = 0.0
        """Seconds, as ``look`` counts them, since its last message."""
        self._ran_s: dict[float, float] = {}
        """When a running batch began, on the worker's clock → how many seconds of it were looked at."""
        self._hung = ""
        """How it hung; empty if it didn't."""
        self.status = WorkerStatus()
        self.ready_at: float | None = None
        """``time.monotonic()`` when it was loaded and warmed up; None if it never was."""

    @property
    def ready(self) -> bool:
        """Whether it is loaded, warmed up and listening."""
        return self._writer is not None

    def send(self, message: Message, content: bytes = b"") -> None:
        """Send it a message, with the bytes that belong to it; does nothing while it doesn't listen."""
        if self._writer is not None:
            self._writer.write(packed(message, content))

    def end(self) -> None:
        """End the process, now or as soon as it has begun."""
        self._ending = True
        if self._writer is not None:
            self._writer.close()
        self._stop.set()

    def look(self, step_s: float) -> None:
        """Count ``step_s`` more seconds; end it if it loads for too long, says nothing, or has a batch that hangs.

        Seconds are counted here, look by look, and not by a clock: while this process itself was frozen, a healthy
        worker could not be heard.
        """
        self._silent_s += step_s
        running = {one["began_s"]: one["padded_s"] for one in self.status.queue.get("running", ())}
        self._ran_s = {began_s: self._ran_s.get(began_s, 0.0) + step_s for began_s in running}
        longest = [(ran_s, running[began_s]) for began_s, ran_s in self._ran_s.items()]
        hanging = [(ran_s, padded_s) for ran_s, padded_s in longest if ran_s > self._plan.hang_s(padded_s)]
        if self._silent_s > (SILENT_S if self.ready else LOAD_S):
            self._hung = f"the worker hung: it said nothing for {self._silent_s:.0f} s"
        elif hanging:
            ran_s, padded_s = hanging[0]
            self._hung = f"the worker hung: a batch of {padded_s:.0f} s of audio ran for {ran_s:.0f} s"
        else:
            return
        # Forgotten, or the next look would take it for hung once more before its end is noticed.
        self.status = WorkerStatus()
        self._silent_s = 0.0
        self._stop.set()

    async def run(self) -> str:
        """Start the process and wait for its end; returns what ended it.

        Raises:
            AutotuneError: it ended before it was ready.
            OSError: it can't be started now.
        """
        loop = asyncio.get_running_loop()
        # A pair of sockets, not the pipe of run_task: that one goes one way, and ends with a single result.
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                reader, writer = await asyncio.open_connection(sock=ours)
            except BaseException:
                ours.close()
                raise
            first = asyncio.ensure_future(receive_frame(reader))
            ended = self._start(loop, theirs.fileno())
            try:
                either: list[asyncio.Future[Any]] = [first, ended]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if first.done() and (message := first.result()) is not None:
                    theirs.close()  # the worker has its own by now, and its end must be seen here
                    await self._converse(reader, writer, message)
            finally:
                first.cancel()
                writer.close()
                self._stop.set()
                # Before ``theirs`` is closed: its number must not become another file's while a child may inherit it.
                await asyncio.wait({ended})
                self._stop.close()
        # A hung worker was ended from here, which its task can only report as killed.
        error = TrialError(self._hung) if self._hung else ended.result()
        if self.ready_at is None and error is not None:
            raise error
        return in_words(error) if error is not None else "it ended"

    def _start(self, loop: asyncio.AbstractEventLoop, socket_fd: int) -> asyncio.Future[AutotuneError | None]:
        """Start the process; the future gives what ended it.

        It is started from a thread that lives as long as it does: the kernel ends it with the thread that started it.
        """
        ended: asyncio.Future[AutotuneError | None] = loop.create_future()
        plan = self._plan
        deployment = plan.deployment
        payload = {
            "deployment": deployment.model_dump(mode="json"),
            "files": {name: path and str(path.absolute()) for name, path in vars(plan.files).items()},
            "hot_words": plan.hot_words,
            "hurried": self._hurried,
            "socket": socket_fd,
        }

        def run() -> None:
            failure: AutotuneError | None = None
            try:
                run_task(
                    "autotune.serve.worker:serve_task",
                    payload,
                    timeout_s=_FOREVER_S,
                    threads=None if deployment.engine == "funasr" else deployment.intra_op_num_threads,
                    stop=self._stop,
                    watch=gpu_watch(deployment.device),
                    inherited=(socket_fd,),
                )
            except AutotuneError as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - whatever it is, the server must go on
                failure = TrialError(f"{type(error).__name__}: {error}")
            loop.call_soon_threadsafe(ended.set_result, failure)

        try:
            threading.Thread(target=run, name="autotune-worker", daemon=True).start()
        except RuntimeError as error:  # no thread can be had
            ended.set_result(TrialError(f"{error}"))
        return ended

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: Message) -> None:
        """Handle the worker's messages, from the first on, until it hangs up or is to end."""
        message: Message | None = first
        self._writer = writer
        self.ready_at = time.monotonic()
        try:
            self._on_ready(self)
            while message is not None and not self._ending:
                self._silent_s = 0.0
                if "status" in message:
                    self.status = WorkerStatus(message["status"]["queue"], message["status"]["totals"])
                self._on_message(self, message)
                message = await receive_frame(reader)
        finally:
            self._writer, self.status = None, WorkerStatus()
            writer.close()
            self._on_lost(self)


def in_words(error: Exception) -> str:
    """An error with the last lines that its process printed."""
    said = f"{error}" if isinstance(error, AutotuneError) else f"{type(error).__name__}: {error}"
    tail = error.stderr_tail if isinstance(error, TrialError) else ""
    return f"{said}\n{tail}" if tail else said
