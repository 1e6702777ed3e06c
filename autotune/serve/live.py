"""A stream in the server's own process: audio that isn't settled is kept for a worker that replaces the present one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Protocol

from autotune.recognizer import Segment, Transcript
from autotune.recognizer.asked import NOTHING, Asked
from autotune.recognizer.decoding import join_texts
from autotune.recognizer.streaming import Interims
from autotune.serve.wire import BackendError, Message, error_of, segment_from, transcript_from

__all__ = ["AHEAD_S", "LEAST_S", "LiveStream", "StreamEvents"]

AHEAD_S = 10.0
"""Seconds of audio that may be on their way to the worker; a client that sends faster has to wait."""
LEAST_S = 0.02
"""Seconds of audio that are sent to the worker at once, the end aside: a message takes memory beside its samples, and a
client may send every sample by itself."""
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
        self.number, self._rate_hz, self._events, self._asked_for = number, rate_hz, events, asked
        self._send, self._forget = send, forget
        self._future: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._room.set()
        self._kept = bytearray()
        """PCM of the audio that isn't settled: what a replacing worker would need."""
        self._unsent = bytearray()
        """The end of ``_kept`` that is too short to be sent yet."""
        self._kept_from = 0
        """Where in the recording ``_kept`` begins, in samples of the client's rate."""
        self._offset_s = 0.0
        """Where in the recording the present worker's stream begins, in seconds: its times count from there."""
        self._sent = self._taken = 0
        """Bytes that the present worker was sent, or the next one will be, and those fed to its recognizer."""
        self._segments: list[Segment] = []
        self._ended = False
        self.begun = False
        """Whether the present worker has it."""
        self.suspect = False
        """Whether a worker died while it had this stream at work, and none has got on with it since."""
        self._attempts = 0
        """Workers that died in a row while they had it at work."""
        self._interims = Interims()

    @property
    def received_s(self) -> float:
        """Seconds of audio received so far."""
        return (self._kept_from + len(self._kept) / _SAMPLE_BYTES) / self._rate_hz

    @property
    def over(self) -> bool:
        """Whether it has its text or its error."""
        return self._future.done()

    @property
    def busy(self) -> bool:
        """Whether the worker has audio of it that isn't fed to its recognizer."""
        return self._sent > self._taken

    def begin(self) -> None:
        """Open the stream in a worker, and send it all audio that isn't settled."""
        self.begun = True
        self._offset_s = self._kept_from / self._rate_hz
        self._sent = self._taken = 0
        self._interims.answered()
        self._order({"op": "open", "id": self.number, "rate_hz": self._rate_hz, "asked": asdict(self._asked_for)})
        self._unsent[:] = self._kept
        self._send_audio()
        if self._ended:
            self._order({"op": "end", "id": self.number})

    async def feed(self, pcm: bytes) -> None:
        """Take the next whole samples; waits while the worker is far behind. Raises what ended the stream."""
        if self._future.done():
            self._future.result()
        self._kept += pcm
        self._unsent += pcm
        if len(self._unsent) >= LEAST_S * self._rate_hz * _SAMPLE_BYTES:
            self._send_audio()
        await self._room.wait()

    def ask_interim(self) -> None:
        """Have ``on_interim`` called soon, if it is time for another interim text."""
        if self.begun and self._interims.due(self.received_s):
            self._send_audio()
            self._order({"op": "interim", "id": self.number})

    async def finish(self) -> Transcript:
        """End the recording and wait for its whole text.

        Raises:
            BackendError: two workers failed on it.
        """
        if not self._ended:
            self._ended = True
            self._send_audio()
            self._order({"op": "end", "id": self.number})
        # Shielded: whoever stops waiting must not cancel a future that ``close`` and ``fail`` still settle.
        return await asyncio.shield(self._future)

    def close(self) -> None:
        """Forget the stream; the worker drops what isn't done."""
        self._forget()
        # At once: whoever still refers to the stream must not hold its audio.
        self._kept.clear()
        self._unsent.clear()
        if not self._future.done():
            self._order({"op": "drop", "id": self.number})
            self._future.cancel()
        elif not self._future.cancelled():
            self._future.exception()  # asyncio warns of an exception that nobody looked at

    def receive(self, message: Message) -> None:
        """Handle a message of the worker about this stream."""
        if self._future.done():
            return
        if "taken" in message:
            self._taken += message["taken"]
            self._drop_until(self._offset_s + message["settled_s"])
            self._make_room()
        elif "segment" in message:
            self._settle(segment_from(message["segment"]))
        elif "interim" in message:
            self._interims.answered()
            self._events.on_interim(message["interim"])
        elif "done" in message:
            self._finish(transcript_from(message["done"]))
        elif "error" in message:
            self.fail(error_of(message["error"]))

    def lost(self) -> None:
        """The worker died; ``begin`` follows once another one is ready."""
        self.begun = False
        # Clients may go on meanwhile: what they send is kept, and sent to the next worker.
        self._sent = self._taken = 0
        self._make_room()

    def blame(self, attempts: int) -> None:
        """The worker died while it had the stream at work, which ``attempts`` in a row must not."""
        self._attempts += 1
        self.suspect = True
        if self._attempts >= attempts:
            self.fail(BackendError("The recognizer failed twice on this stream."))

    def fail(self, error: Exception) -> None:
        """End the stream with an error."""
        self._room.set()
        if not self._future.done():
            self._future.set_exception(error)

    def _settle(self, segment: Segment) -> None:
        moved = segment.moved(self._offset_s)
        self._segments.append(moved)
        # This worker got on with it, so it isn't the audio that kills workers.
        self._attempts, self.suspect = 0, False
        self._drop_until(moved.end_s)
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

    def _drop_until(self, second: float) -> None:
        """Keep no audio of the recording before a second: no text still to come depends on it."""
        # Whole samples, and never more than there are.
        settled = min(int(second * self._rate_hz), self._kept_from + len(self._kept) // _SAMPLE_BYTES)
        if settled > self._kept_from:
            del self._kept[: (settled - self._kept_from) * _SAMPLE_BYTES]
            self._kept_from = settled

    def _order(self, message: Message, content: bytes = b"") -> None:
        """Send to the worker, if it has the stream."""
        if self.begun:
            self._send(message, content)

    def _send_audio(self) -> None:
        """Send what isn't sent yet."""
        if self._unsent:
            pcm = bytes(self._unsent)
            self._unsent.clear()
            self._sent += len(pcm)
            self._order({"op": "audio", "id": self.number}, pcm)
            self._make_room()

    def _make_room(self) -> None:
        if self._sent - self._taken <= AHEAD_S * self._rate_hz * _SAMPLE_BYTES:
            self._room.set()
        else:
            self._room.clear()
