"""A worker as the server sees it: one process, from its start to its end."""

from __future__ import annotations

import asyncio
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

__all__ = ["ServedFiles", "WorkerPlan", "WorkerProcess", "WorkerStatus"]

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
    """Deployment that a worker runs, and its files."""

    deployment: Deployment
    files: ServedFiles
    folder: Path
    """A folder that only this user can enter; the workers' sockets lie in it."""
    hang_s: float
    """Seconds after which a running batch hangs."""
    hot_words: bool = False
    """Whether it is loaded with hot words."""


@dataclass(frozen=True)
class WorkerStatus:
    """The last status that a worker has sent; empty before the first."""

    queue: Mapping[str, float] = field(default_factory=dict)
    """Fields of ``QueueFacts``."""
    totals: Mapping[str, Any] = field(default_factory=dict)
    """``audio_s``, ``busy_s`` and ``stages_s``, since this worker started."""


class WorkerProcess:
    """A worker from its start to its end, never started again; for the event loop in which it was made."""

    def __init__(
        self,
        plan: WorkerPlan,
        name: str,
        *,
        on_ready: Callable[[WorkerProcess], None],
        on_message: Callable[[WorkerProcess, Message], None],
        on_lost: Callable[[WorkerProcess], None],
        hurried: bool = False,
    ) -> None:
        """Remember what to run; ``run`` starts the process.

        Args:
            plan: what it runs.
            name: its socket's name, which no other living worker has.
            on_ready: called once it is loaded, warmed up and listening.
            on_message: called with every message of the worker, statuses included.
            on_lost: called when it no longer listens, if it ever did.
            hurried: whether it is ready after its smallest batch, instead of after batches of every shape.
        """
        self._plan, self._hurried = plan, hurried
        self._path = plan.folder / f"{name}.sock"
        self._on_ready, self._on_message, self._on_lost = on_ready, on_message, on_lost
        self._writer: asyncio.StreamWriter | None = None
        self._stop = Stop()
        self._ending = False
        self._last_message_at = time.monotonic()
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

    def end_if_hung(self) -> None:
        """End the process if it loads for too long, sends nothing, or has a batch that doesn't end."""
        silent_s = time.monotonic() - self._last_message_at
        running_s = self.status.queue.get("running_s", 0.0)
        if silent_s > (SILENT_S if self.ready else LOAD_S):
            self._hung = f"the worker hung: it said nothing for {silent_s:.0f} s"
        elif running_s > self._plan.hang_s:
            self._hung = f"the worker hung: a batch ran for {running_s:.0f} s"
        else:
            return
        # Forgotten, or the next look would take it for hung once more before its end is noticed.
        self.status = WorkerStatus()
        self._last_message_at = time.monotonic()
        self._stop.set()

    async def run(self) -> str:
        """Start the process and wait for its end; returns what ended it.

        Raises:
            AutotuneError: it ended before it was ready.
        """
        loop = asyncio.get_running_loop()
        connected: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()
        self._path.unlink(missing_ok=True)

        def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connected.set_result((reader, writer))

        # A socket, not the pipe of run_task: that one goes one way, and ends with a single result.
        server = await asyncio.start_unix_server(on_connection, path=self._path)
        ended = self._start(loop)
        try:
            either: list[asyncio.Future[Any]] = [connected, ended]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if connected.done():
                await self._converse(*connected.result())
        finally:
            server.close()
            self._stop.set()
            await asyncio.wait({ended})
            self._stop.close()
        # A hung worker was ended from here, which its task can only report as killed.
        error = TrialError(self._hung) if self._hung else ended.result()
        if self.ready_at is None and error is not None:
            raise error
        return f"{error}" if error is not None else "it ended"

    def _start(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[AutotuneError | None]:
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
            "socket": str(self._path),
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
                )
            except AutotuneError as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - whatever it is, the server must go on
                failure = TrialError(f"{type(error).__name__}: {error}")
            loop.call_soon_threadsafe(ended.set_result, failure)

        threading.Thread(target=run, name="autotune-worker", daemon=True).start()
        return ended

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle the worker's messages until it hangs up or is to end."""
        self._writer = writer
        self.ready_at = self._last_message_at = time.monotonic()
        try:
            self._on_ready(self)
            while not self._ending and (message := await receive_frame(reader)) is not None:
                self._last_message_at = time.monotonic()
                if "status" in message:
                    self.status = WorkerStatus(message["status"]["queue"], message["status"]["totals"])
                self._on_message(self, message)
        finally:
            self._writer, self.status = None, WorkerStatus()
            writer.close()
            self._on_lost(self)


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
