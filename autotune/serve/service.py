"""The service: what HTTP and WebSocket share: the measured deployment, its backend, admission and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from autotune.deploy_yaml import DeploymentFile
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Segment, Transcript
from autotune.recognizer.admission import Admission, Rejected
from autotune.recognizer.asked import NOTHING, Asked, can_choose_language, can_time_words
from autotune.recognizer.streaming import interim_streams
from autotune.serve.backend import Backend
from autotune.serve.connections import HeldBytes
from autotune.serve.file_job import Opening
from autotune.serve.folder import PrivateFolder
from autotune.serve.limits import absent_s, answer_s, hang_s, limits_of
from autotune.serve.metrics import Metrics
from autotune.serve.options import ServeOptions
from autotune.serve.uploads import Receiving, Room, Upload
from autotune.serve.wire import BackendError
from autotune.serve.worker_process import ServedFiles, WorkerPlan

__all__ = ["Service"]

CONVERSATIONS = 16
"""WebSocket connections that may be open beside two for each stream."""


class Service:
    """The measured deployment with its backend, admission and metrics, as HTTP and WebSocket share it.

    For one event loop: made before it runs; ``begin`` and ``end`` are called inside.
    """

    def __init__(
        self,
        document: DeploymentFile,
        options: ServeOptions,
        *,
        files: ServedFiles,
        messages: HeldBytes,
        on_event: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Take nothing in yet. Raises OSError if there is no disk for uploads.

        Args:
            document: what is served.
            options: limits and keys.
            files: what the recognizer is loaded from.
            messages: the memory that WebSocket messages take.
            on_event: called with a sentence; never raises.
        """
        self.document, self.options = document, options
        self.limits = limits_of(options, document)
        self.admission = Admission(self.limits, document.measurement.rtfx.median)
        self.metrics = Metrics()
        self.messages = messages
        self.absent_s = absent_s(document)
        """Seconds that requests wait for a worker, after which the process counts as dead."""
        self.folder = PrivateFolder()
        self.room = Room(self.folder.path, self.limits.body_bytes)
        self.receiving = Receiving(options.idle_s)
        self.draining = asyncio.Event()
        self._files, self._model = files, ModelDirectory.open(files.model)
        self._backend: Backend | None = None
        self._on_event = on_event
        self._uploads = 0
        self._conversations = 0

    @property
    def backend(self) -> Backend:
        """The backend. Raises Rejected until a worker has been ready for the first time."""
        if self._backend is None:
            raise Rejected("not_ready", "The model is being loaded. Try again later.", status=503, retry_after_s=5)
        return self._backend

    @property
    def interims(self) -> bool:
        """Whether streams get interim results now: if they are asked for, or while all that are open can have them."""
        if self.options.interims is not None:
            return self.options.interims
        return max(1, self.admission.streams) <= interim_streams(self.document.measurement.rtfx.median)

    def without_paths(self, text: str) -> str:
        """A message as clients may see it: where uploads lie is nobody's business."""
        return re.sub(rf"{re.escape(str(self.folder.path))}(/\d+)?", "The file", text)

    @property
    def times_words(self) -> bool:
        """Whether the times of words can be had."""
        return can_time_words(self.document.deployment, self._model)

    @property
    def chooses_language(self) -> bool:
        """Whether a request may have a language of its own."""
        return can_choose_language(self.document.deployment, self._model)

    @property
    def takes_hot_words(self) -> bool:
        """Whether a request may have hot words of its own, beside the server's."""
        return self.options.hot_words is not None and self.document.deployment.engine != "funasr"

    @property
    def ready(self) -> bool:
        """Whether a request that comes now would be recognised at once."""
        return self._backend is not None and self._backend.ready and not self.admission.draining

    @property
    def dead(self) -> bool:
        """Whether no worker has come up for too long."""
        return self._backend is not None and self._backend.absent

    def tell_error(self, error: Exception) -> None:
        """Tell whoever runs the server of an error that nothing foresaw, with its stack."""
        self._on_event("an error that nothing foresaw:\n" + "".join(traceback.format_exception(error)).rstrip())

    def check_upload(self) -> None:
        """Raise Rejected if an upload would be turned away whatever it holds."""
        self.check_worker()
        self.admission.check()

    def check_worker(self) -> None:
        """Raise Rejected while there is no worker and none is expected soon."""
        _ = self.backend
        if self.dead:
            raise Rejected("no_worker", "The recognizer does not come up.", status=503, retry_after_s=60)

    async def begin(self) -> None:
        """Load and warm up; raises what the recognizer raises."""
        plan = WorkerPlan(
            deployment=self.document.deployment,
            files=self._files,
            hang_s=lambda padded_s: hang_s(self.document, padded_s),
            absent_s=self.absent_s,
            hot_words=self.options.hot_words,
        )
        backend = Backend(
            plan,
            standby=self.options.standby,
            on_batches=self.metrics.batches,
            on_restart=lambda why: self._on_event(f"the recognizer is started anew: {why}"),
        )
        try:
            await backend.start()
        except BaseException:
            await backend.close()
            raise
        self._backend = backend

    async def gone(self) -> None:
        """Wait until no worker will come up any more. Raises what says so."""
        await asyncio.shield(self.backend.gone)

    async def end(self) -> None:
        """Stop the recognizer and remove all uploads."""
        if self._backend is not None:
            await self._backend.close()
        self.folder.remove()

    def give_up(self) -> None:
        """Answer what is not finished with an error: the server ends."""
        if self._backend is not None:
            self._backend.fail_all("the server is stopping")

    def drain(self) -> None:
        """Accept nothing new, and have streams finish."""
        self.admission.draining = True
        self.draining.set()

    @contextlib.contextmanager
    def upload(self) -> Iterator[Upload]:
        """A file for an upload, deleted at the end of the block; its name is the server's own. Raises OSError."""
        self._uploads += 1
        upload = Upload(self.folder.path / f"{self._uploads}", self.room)
        try:
            yield upload
        finally:
            upload.discard()

    @contextlib.contextmanager
    def conversation(self) -> Iterator[None]:
        """Hold one of the places for WebSocket connections, with or without audio. Raises Rejected."""
        if self._conversations >= 2 * self.limits.streams + CONVERSATIONS:
            raise Rejected("too_many_connections", "Too many connections.", status=429, retry_after_s=1)
        self._conversations += 1
        try:
            yield
        finally:
            self._conversations -= 1

    async def transcribe(
        self, path: Path, asked: Asked = NOTHING, on_segment: Callable[[Segment], None] | None = None
    ) -> Transcript:
        """Transcribe a file that has a place, if its length is admitted; ``on_segment`` as for the backend.

        Raises:
            AudioError: it can't be read.
            Rejected: it is turned away.
            BackendError: it was accepted, and the recognizer failed on it.
        """
        limit_s, started = answer_s(self.document, self.admission.queued_s), 0.0
        try:
            with contextlib.ExitStack() as held:
                async with asyncio.timeout(limit_s) as deadline:

                    def opened(audio_s: float, sides: int) -> None:
                        nonlocal limit_s, started
                        held.enter_context(self.admission.audio(audio_s, sides))
                        started = time.perf_counter()
                        # From now on it waits behind what is queued by now, its own audio included.
                        limit_s = answer_s(self.document, self.admission.queued_s)
                        deadline.reschedule(asyncio.get_running_loop().time() + limit_s)

                    # Only the worker opens it: what a decoder does to hostile bytes must not end the process with the
                    # sockets.
                    opening = Opening(opened, most_s=self.limits.duration_s)
                    transcript = await self.backend.transcribe(path, asked, on_segment, opening)
        except TimeoutError:
            raise BackendError(f"This recording was not answered within {limit_s:g} s.") from None
        self.metrics.spent("recognise", time.perf_counter() - started)
        return transcript

    def gauges(self) -> Mapping[str, float]:
        """Present values of all gauges, by name, for ``Metrics.text``."""
        status = self._backend.status if self._backend else None
        queue = status.queue if status else {}
        totals = status.totals if status else {}
        busy_s = float(totals.get("busy_s", 0.0))
        return {
            "ready": float(self.ready),
            "requests": float(self.admission.inside),
            "streams": float(self.admission.streams),
            "accepted_s": self.admission.queued_s,
            "segments": float(queue.get("segments", 0)),
            "queued_s": float(queue.get("audio_s", 0.0)),
            "oldest_s": float(queue.get("oldest_s", 0.0)),
            "rtfx": float(totals.get("audio_s", 0.0)) / busy_s if busy_s else 0.0,
            "standing_by": float(self._backend.standing_by if self._backend else 0),
            "restarts": float(self._backend.restarts if self._backend else 0),
        }
