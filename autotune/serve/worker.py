"""The worker: the recognizer in a process of its own, so that a crash or a hang of an engine takes no client along.

The child side of ``backend.py``. It gets ``file``, ``go``, ``open``, ``audio``, ``interim``, ``end`` and ``drop``, each
with the id of a job, and answers ``opened`` (a file, with its length), ``read`` (a file, to its end), ``taken``,
``segment``, ``interim``, ``done`` and ``error``. It sends its status twice a second, and before each batch the ids of
all jobs that are in an engine (``running``).
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from concurrent.futures import CancelledError, Future
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from autotune.arrays import Float32
from autotune.audio import audio_info
from autotune.audio.reading import SAMPLE_RATE_HZ, sides_of
from autotune.deployment import Deployment
from autotune.errors import AudioError
from autotune.isolation.activity import heartbeat
from autotune.model_directory import ModelDirectory
from autotune.recognizer import Recognizer, Segment, warmup_shapes
from autotune.recognizer.asked import Asked
from autotune.recognizer.streaming import STREAM_AHEAD_S
from autotune.serve.memory import memory_given_back
from autotune.serve.wire import Message, asked_from, packed, read_frame, segment_to, transcript_to

if TYPE_CHECKING:
    from autotune.isolation.child import Emit

__all__ = ["serve_task"]

STATUS_EVERY_S = 0.5
"""Seconds between two statuses; the server takes a worker that is silent for far longer for hung."""
_SCALE = np.float32(1 / 32768)


def serve_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """Load and warm up the recognizer of ``payload``, and work until the server hangs up.

    It speaks on the socket that it has inherited. Its first message says that it is ready.
    """
    del emit
    deployment = Deployment.model_validate(payload["deployment"])
    files = {name: path and Path(path) for name, path in payload["files"].items()}
    with Recognizer.load(
        deployment,
        ModelDirectory.open(files["model"]),
        files["artifact"],
        files["punctuation"],
        hot_words=payload["hot_words"],
        hot_words_artifact=files["hot_words"],
    ) as recognizer:
        shapes = warmup_shapes(deployment)
        recognizer.warm_up(shapes[:1] if payload["hurried"] else shapes)
        # Warm-up batches are nobody's: they must not be in the server's metrics.
        recognizer.take_batches()
        # Engines keep the memory arenas that they were measured with.
        with memory_given_back(), socket.socket(fileno=payload["socket"]) as connection:
            connection.set_inheritable(False)
            _Worker(recognizer, connection).run()
    return {}


class _Worker:
    """Receives the server's messages, and gives each job a thread of its own."""

    def __init__(self, recognizer: Recognizer, connection: socket.socket) -> None:
        self.recognizer = recognizer
        self._connection = connection
        self._sending = threading.Lock()
        self.opening = threading.Semaphore(os.cpu_count() or 1)
        """How many files are opened at once: some are decoded to know their length."""
        self._jobs: dict[int, _FileJob | _LiveJob] = {}
        self._numbers: dict[int, int] = {}
        """Identity of a request's owner → number of its job."""
        recognizer.tell_running(self._tell_running)

    def run(self) -> None:
        """Handle messages until the server hangs up."""
        threading.Thread(target=self._report, name="autotune-status", daemon=True).start()
        with self._connection.makefile("rb") as stream:
            while (frame := read_frame(stream)) is not None:
                self._take(*frame)
        for job in list(self._jobs.values()):
            job.drop()

    def send(self, message: Message) -> None:
        """Send a message, from any thread; does nothing once the server has hung up."""
        frame = packed(message)
        with self._sending, contextlib.suppress(OSError):
            self._connection.sendall(frame)

    def begin(self, number: int, owner: object) -> None:
        """Know the job of an owner."""
        self._numbers[id(owner)] = number

    def forget(self, number: int, owner: object) -> None:
        """Remove a job that has ended."""
        self._jobs.pop(number, None)
        self._numbers.pop(id(owner), None)

    def _tell_running(self, owners: list[object]) -> None:
        numbers = {self._numbers.get(id(owner)) for owner in owners}
        self.send({"running": sorted(number for number in numbers if number is not None)})

    def _take(self, message: Message, content: bytes) -> None:
        number, order = message["id"], message["op"]
        if order == "file":
            self._jobs[number] = _FileJob(self, number, message)
        elif order == "open":
            self._jobs[number] = _LiveJob(self, number, message["rate_hz"], asked_from(message["asked"]))
        elif (job := self._jobs.get(number)) is None:
            return  # it failed, which the server gets as its own message
        elif order == "drop":
            job.drop()
        elif order == "go" and isinstance(job, _FileJob):
            job.go()
        elif isinstance(job, _LiveJob):
            # Only queued: one stream's resampling and features must not hold up the messages of all others.
            job.inbox.put((order, content))

    def _report(self) -> None:
        # This thread wakes twice a second even if all else hangs; whoever watches the process must leave it out.
        heartbeat()
        while True:
            waiting, stats = self.recognizer.queue(), self.recognizer.stats()
            batches = [asdict(batch) for batch in self.recognizer.take_batches()]
            totals = {"audio_s": stats.audio_s, "busy_s": stats.busy_s, "stages_s": stats.stages_s}
            self.send({"status": {"queue": asdict(waiting), "batches": batches, "totals": totals}})
            time.sleep(STATUS_EVERY_S)


def _error_message(error: BaseException, path: Path | None = None) -> Message:
    """An error as the client may see it: without paths of this machine."""
    kind = "audio" if isinstance(error, AudioError) else "internal"
    text = f"{error}" if kind == "audio" else f"{type(error).__name__}: {error}"
    return {"kind": kind, "message": text.replace(f"{path}", "The file") if path else text}


class _FileJob:
    """Transcribes a file in a thread of its own, and sends its transcript or its error to the server."""

    def __init__(self, worker: _Worker, number: int, order: Message) -> None:
        self._worker, self._number, self._path = worker, number, Path(order["path"])
        self._most_s = order["most_s"]
        self._answered = threading.Event()
        """Whether the server has said what to do with a recording of that length."""
        self._dropped = False
        on_segment = self._send_segment if order["segments"] else None
        asked = asked_from(order["asked"])
        self._channel = asked.channel
        self._request = worker.recognizer.request(on_segment, asked=asked)
        worker.begin(number, self._request.owner)
        threading.Thread(target=self._run, name=f"autotune-file-{number}", daemon=True).start()

    def go(self) -> None:
        """Recognise the file: its length is admitted."""
        self._answered.set()

    def drop(self) -> None:
        """Give the file up; its thread ends without an answer."""
        self._dropped = True
        self._request.abandon()
        self._answered.set()

    def _send_segment(self, segment: Segment) -> None:
        self._worker.send({"id": self._number, "segment": segment_to(segment)})

    def _run(self) -> None:
        try:
            with self._worker.opening:
                audio_s = audio_info(self._path, self._most_s).duration_s
                sides = len(sides_of(self._path, self._channel))
            self._worker.send({"id": self._number, "opened": audio_s, "sides": sides})
            self._answered.wait()
            if self._dropped:
                return
            self._request.read(self._path)
            self._worker.send({"id": self._number, "read": True})
            done = transcript_to(self._request.result())
        except CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must get an answer
            self._worker.send({"id": self._number, "error": _error_message(error, self._path)})
        else:
            self._worker.send({"id": self._number, "done": done})
        finally:
            self._worker.forget(self._number, self._request.owner)


class _LiveJob:
    """Transcribes one recording that arrives at its own pace: 16-bit PCM, mono, little endian."""

    def __init__(self, worker: _Worker, number: int, rate_hz: int, asked: Asked) -> None:
        self._worker, self._number = worker, number
        self.inbox: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        """The server's messages about this stream, in order."""
        self._stream = worker.recognizer.stream(
            lambda segment: worker.send({"id": number, "segment": segment_to(segment)}),
            asked=asked,
            ahead_s=STREAM_AHEAD_S,
        )
        worker.begin(number, self._stream.owner)
        self._resampler = None
        if rate_hz != SAMPLE_RATE_HZ:
            self._resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, "float32", "HQ")
        threading.Thread(target=self._run, name=f"autotune-stream-{number}", daemon=True).start()

    def drop(self) -> None:
        """Give the stream up; its thread ends without an answer."""
        self.inbox.put(("drop", b""))
        self._stream.abandon()

    def _run(self) -> None:
        try:
            while (order := self.inbox.get())[0] not in ("drop", "end"):
                self._handle(*order)
            if order[0] == "end":
                if self._resampler is not None:
                    self._stream.feed(self._resampled(np.empty(0, np.float32), last=True))
                self._worker.send({"id": self._number, "done": transcript_to(self._stream.finish().result())})
        except CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the client must get an answer
            self._worker.send({"id": self._number, "error": _error_message(error)})
        finally:
            self._worker.forget(self._number, self._stream.owner)

    def _handle(self, order: str, content: bytes) -> None:
        if order == "interim":
            self._stream.interim().add_done_callback(self._send_interim)
            return
        samples = np.frombuffer(content, "<i2").astype(np.float32) * _SCALE
        self._stream.feed(samples if self._resampler is None else self._resampled(samples, last=False))
        # After it was fed: the server sends no further ahead than what isn't taken yet (``live.AHEAD_S``).
        self._worker.send({"id": self._number, "taken": len(content), "settled_s": self._stream.settled_s})

    def _send_interim(self, future: Future[str]) -> None:
        if not future.exception():
            self._worker.send({"id": self._number, "interim": future.result()})

    def _resampled(self, samples: Float32, *, last: bool) -> Float32:
        assert self._resampler is not None
        resampled = self._resampler.resample_chunk(samples, last=last)
        # Filters overshoot at full scale, and the recognizer takes samples in −1..1.
        clipped: Float32 = np.clip(resampled, -1.0, 1.0, dtype=np.float32)
        return clipped
