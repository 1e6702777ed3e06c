"""The service: what HTTP and WebSocket share: the measured deployment, its backend, admission and metrics."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from autotune.deploy_yaml import DeploymentFile
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Segment, Transcript
from autotune.recognizer.admission import Admission, Rejected
from autotune.recognizer.asked import NOTHING, Asked, can_choose_language, can_time_words
from autotune.serve.backend import Backend, Opening
from autotune.serve.limits import hang_s, interim_streams, limits_of
from autotune.serve.metrics import Metrics
from autotune.serve.options import ServeOptions
from autotune.serve.worker_process import ServedFiles, WorkerPlan

__all__ = ["Service"]


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
        on_event: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.document, self.options = document, options
        self.limits = limits_of(options, document)
        self.admission = Admission(self.limits, document.measurement.rtfx.median)
        self.metrics = Metrics()
        self.folder = tempfile.TemporaryDirectory(prefix="autotune-serve-", ignore_cleanup_errors=True)
        self.draining = asyncio.Event()
        self._files, self._model = files, ModelDirectory.open(files.model)
        self._backend: Backend | None = None
        self._on_event = on_event
        self._uploads = 0

    @property
    def backend(self) -> Backend:
        """The backend. Raises Rejected until a worker has been ready for the first time."""
        if self._backend is None:
            raise Rejected("not_ready", "The model is being loaded. Try again later.", status=503, retry_after_s=5)
        return self._backend

    @property
    def interims(self) -> bool:
        """Whether streams get interim results now: if they are asked for, or while all that are open can have them."""
        asked = self.options.interims
        return max(1, self.admission.streams) <= interim_streams(self.document) if asked is None else asked

    def without_paths(self, text: str) -> str:
        """A message as clients may see it: where uploads lie is nobody's business."""
        return re.sub(rf"{re.escape(self.folder.name)}/\d+", "The file", text)

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
        """Whether a request may have hot words."""
        return self.options.hot_words is not None

    def hot_words(self, own: Sequence[str]) -> tuple[str, ...]:
        """The server's hot words and those of a request; none where they aren't taken."""
        return () if self.options.hot_words is None else tuple(dict.fromkeys((*self.options.hot_words, *own)))

    @property
    def ready(self) -> bool:
        """Whether a request that comes now would be recognised at once."""
        return self._backend is not None and self._backend.ready and not self.admission.draining

    def check_upload(self) -> None:
        """Raise Rejected if an upload would be turned away whatever it holds."""
        _ = self.backend
        self.admission.check()

    async def begin(self) -> None:
        """Load and warm up; raises what the recognizer raises."""
        plan = WorkerPlan(
            deployment=self.document.deployment,
            files=self._files,
            folder=Path(self.folder.name),
            hang_s=hang_s(self.document),
            hot_words=self.takes_hot_words,
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

    async def end(self) -> None:
        """Stop the recognizer and remove all uploads."""
        if self._backend is not None:
            await self._backend.close()
        self.folder.cleanup()

    def drain(self) -> None:
        """Accept nothing new, and have streams finish."""
        self.admission.draining = True
        self.draining.set()

    def new_path(self) -> Path:
        """Where the next upload is kept; the name is the server's own."""
        self._uploads += 1
        return Path(self.folder.name) / f"{self._uploads}"

    async def transcribe(
        self, path: Path, asked: Asked = NOTHING, on_segment: Callable[[Segment], None] | None = None
    ) -> Transcript:
        """Transcribe a file that was received, if its length is admitted; ``on_segment`` as for the backend.

        Raises:
            AudioError: it can't be read.
            Rejected: it is turned away.
            BackendError: it was accepted, and the recognizer failed on it.
        """
        started = 0.0
        with self.admission.recording() as settle:

            def opened(audio_s: float) -> None:
                nonlocal started
                settle(audio_s)
                started = time.perf_counter()

            # Only the worker opens it: what a decoder does to hostile bytes must not end the process with the sockets.
            opening = Opening(opened, most_s=self.limits.duration_s)
            transcript = await self.backend.transcribe(path, asked, on_segment, opening)
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
