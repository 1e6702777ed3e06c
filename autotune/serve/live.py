"""A stream in the server's own process: audio that isn't settled is kept for a worker that replaces the present one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

from autotune.recognizer import Segment, Transcript
from autotune.recognizer.asked import NOTHING, Asked
from autotune.recognizer.decoding import join_texts
from autotune.serve.wire import BackendError, Message, error_of, segment_from, transcript_from

__all__ = ["LiveStream", "StreamEvents"]

AHEAD_S = 10.0
"""Seconds of audio that may be on their way to the worker; a client that sends faster has to wait."""
_SAMPLE_BYTES = 2


class _Send(Protocol):
    def __call__(self, message: Message, content: bytes = b"", /) -> None: ...


@dataclass(frozen=True)
class StreamEvents:
    """Callbacks of a stream, which are called in the event loop."""

    on_segment: Callable[[Segment], None]
    """Called with each settled segment, in order."""
    on_interim: Callable[[str], None]
    """Called with an interim text of the audio that isn't settled yet."""


class LiveStream:
    """One recording of 16-bit PCM that arrives at its own pace. Made by ``Backend.open``."""

    def __init__(
        self,
        number: int,
        rate_hz: int,
        events: StreamEvents,
        send: _Send,
        forget: Callable[[], object],
        *,
        asked: Asked = NOTHING,
    ) -> None:
        self._number, self._rate_hz, self._events, self._asked_for = number, rate_hz, events, asked
        self._send, self._forget = send, forget
        self._future: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._room.set()
        self._kept = bytearray()
        """PCM of the audio that isn't settled: what a replacing worker would need."""
        self._kept_from = 0
        """Where in the recording ``_kept`` begins, in samples of the client's rate."""
        self._offset_s = 0.0
        """Where in the recording the present worker's stream begins, in seconds: its times count from there."""
        self._sent = self._taken = 0
        """Bytes sent to the present worker, and bytes that it has fed to its recognizer."""
        self._segments: list[Segment] = []
        self._settled_s = 0.0
        self._ended = False
        self._attempts = 1
        self._asked = False

    @property
    def received_s(self) -> float:
        """Seconds of audio received so far."""
        return (self._kept_from + len(self._kept) / _SAMPLE_BYTES) / self._rate_hz

    def begin(self) -> None:
        """Open the stream in a worker, and send it all audio that isn't settled."""
        self._offset_s = self._kept_from / self._rate_hz
        self._sent = self._taken = 0
        self._asked = False
        self._send({"op": "open", "id": self._number, "rate_hz": self._rate_hz, "asked": asdict(self._asked_for)})
        self._send_audio(bytes(self._kept))
        if self._ended:
            self._send({"op": "end", "id": self._number})

    async def feed(self, pcm: bytes) -> None:
        """Take the next whole samples; waits while the worker is far behind. Raises what ended the stream."""
        if self._future.done():
            self._future.result()
        self._kept += pcm
        self._send_audio(pcm)
        await self._room.wait()

    def ask_interim(self) -> None:
        """Have ``on_interim`` called soon, unless it is asked for already."""
        # One at a time: a worker that is behind would only pile up texts that are out of date when they come.
        if not self._asked:
            self._asked = True
            self._send({"op": "interim", "id": self._number})

    async def finish(self) -> Transcript:
        """End the recording and wait for its whole text.

        Raises:
            BackendError: two workers failed on it.
        """
        if not self._ended:
            self._ended = True
            self._send({"op": "end", "id": self._number})
        # Shielded: whoever stops waiting must not cancel a future that ``close`` and ``fail`` still settle.
        return await asyncio.shield(self._future)

    def close(self) -> None:
        """Forget the stream; the worker drops what isn't done."""
        self._forget()
        if not self._future.done():
            self._send({"op": "drop", "id": self._number})
            self._future.cancel()
        elif not self._future.cancelled():
            self._future.exception()  # asyncio warns of an exception that nobody looked at

    def receive(self, message: Message) -> None:
        """Handle a message of the worker about this stream."""
        if self._future.done():
            return
        if "taken" in message:
            self._taken += message["taken"]
            self._make_room()
        elif "segment" in message:
            self._settle(segment_from(message["segment"]))
        elif "interim" in message:
            self._asked = False
            self._events.on_interim(message["interim"])
        elif "done" in message:
            self._finish(transcript_from(message["done"]))
        elif "error" in message:
            self.fail(error_of(message["error"]))

    def lost(self, attempts: int) -> None:
        """The worker died: count the attempt; ``begin`` follows once another worker is ready."""
        self._attempts += 1
        # Clients may go on meanwhile: what they send is kept, and sent to the next worker.
        self._sent = self._taken = 0
        self._make_room()
        if self._attempts > attempts:
            self.fail(BackendError("The recognizer failed twice on this stream."))

    def fail(self, error: Exception) -> None:
        """End the stream with an error."""
        self._room.set()
        if not self._future.done():
            self._future.set_exception(error)

    def _settle(self, segment: Segment) -> None:
        moved = segment.moved(self._offset_s)
        self._segments.append(moved)
        self._attempts = 1  # this worker got on with it, so it isn't the audio that kills workers
        # Whole samples, and never more than there are.
        settled = min(int(moved.end_s * self._rate_hz), self._kept_from + len(self._kept) // _SAMPLE_BYTES)
        if settled > self._kept_from:
            del self._kept[: (settled - self._kept_from) * _SAMPLE_BYTES]
            self._kept_from = settled
        self._events.on_segment(moved)

    def _finish(self, transcript: Transcript) -> None:
        """Settle the whole text. Where windows overlap, segments come only now: each depends on the next."""
        if not self._segments and transcript.segments:
            self._segments = [part.moved(self._offset_s) for part in transcript.segments]
            for segment in self._segments:
                self._events.on_segment(segment)
        else:
            # Which segment is the last is known only now, and punctuation ends that like a text.
            ended = [part.moved(self._offset_s) for part in transcript.segments]
            self._segments[len(self._segments) - len(ended) :] = ended
        text = join_texts([segment.text for segment in self._segments]) if self._offset_s else transcript.text
        self._future.set_result(Transcript(text, tuple(self._segments), self._offset_s + transcript.audio_s))

    def _send_audio(self, pcm: bytes) -> None:
        if pcm:
            self._sent += len(pcm)
            self._send({"op": "audio", "id": self._number}, pcm)
            self._make_room()

    def _make_room(self) -> None:
        if self._sent - self._taken <= AHEAD_S * self._rate_hz * _SAMPLE_BYTES:
            self._room.set()
        else:
            self._room.clear()
