"""The server's side of a stream: what the worker has settled is forgotten, the rest kept for the next worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from autotune.recognizer.decoding import join_texts
from autotune.recognizer.transcript import Segment, Transcript
from autotune.serve.wire import BackendError, Message, error_of, segment_from, transcript_from

__all__ = ["LiveStream", "StreamEvents"]

AHEAD_S = 10.0
"""Audio that the worker may not have taken yet; a client that sends faster has to wait."""
_SAMPLE_BYTES = 2


class _Send(Protocol):
    def __call__(self, message: Message, content: bytes = b"", /) -> None: ...


@dataclass(frozen=True)
class StreamEvents:
    """What a stream tells while it runs; called in the event loop."""

    on_segment: Callable[[Segment], None]
    """Settled, in order."""
    on_interim: Callable[[str], None]
    """The text, as far as it can be told, of what isn't settled yet."""


class LiveStream:
    """One recording of 16-bit PCM that arrives at its own pace. Made by ``Backend.open``."""

    def __init__(
        self, number: int, rate_hz: int, events: StreamEvents, send: _Send, forget: Callable[[], object]
    ) -> None:
        self._number, self._rate_hz, self._events = number, rate_hz, events
        self._send, self._forget = send, forget
        self._future: asyncio.Future[Transcript] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._room.set()
        self._kept = bytearray()
        """PCM from ``_kept_from`` on: what the next worker would have to hear."""
        self._kept_from = 0
        """In samples of the client's rate."""
        self._offset_s = 0.0
        """Where in the recording this worker's stream begins."""
        self._sent = self._taken = 0
        self._segments: list[Segment] = []
        self._settled_s = 0.0
        self._ended = False
        self._attempts = 1
        self._asked = False

    @property
    def heard_s(self) -> float:
        """Seconds of audio so far."""
        return (self._kept_from + len(self._kept) / _SAMPLE_BYTES) / self._rate_hz

    def begin(self) -> None:
        """Tell a new worker what is kept."""
        self._offset_s = self._kept_from / self._rate_hz
        self._sent = self._taken = 0
        self._asked = False
        self._send({"op": "open", "id": self._number, "rate_hz": self._rate_hz})
        self._tell_audio(bytes(self._kept))
        if self._ended:
            self._send({"op": "end", "id": self._number})

    async def feed(self, pcm: bytes) -> None:
        """Take the next samples, whole ones; waits while the worker is far behind. Raises what ended the stream."""
        if self._future.done():
            self._future.result()
        self._kept += pcm
        self._tell_audio(pcm)
        await self._room.wait()

    def ask_interim(self) -> None:
        """Have ``on_interim`` called soon, unless it is asked for already."""
        if not self._asked:
            self._asked = True
            self._send({"op": "interim", "id": self._number})

    async def finish(self) -> Transcript:
        """No more comes; waits for all that was said.

        Raises:
            BackendError: two workers failed on it.
        """
        if not self._ended:
            self._ended = True
            self._send({"op": "end", "id": self._number})
        return await asyncio.shield(self._future)

    def close(self) -> None:
        """Forget it; the worker drops what isn't done."""
        self._forget()
        if not self._future.done():
            self._send({"op": "drop", "id": self._number})
            self._future.cancel()
        elif not self._future.cancelled():
            self._future.exception()  # nobody may have asked

    def hear(self, message: Message) -> None:
        """What the worker says of it."""
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
        """The worker is gone."""
        self._attempts += 1
        self._sent = self._taken = 0
        self._make_room()
        if self._attempts > attempts:
            self.fail(BackendError("The recognizer failed twice on this stream."))

    def fail(self, error: Exception) -> None:
        """End it."""
        self._room.set()
        if not self._future.done():
            self._future.set_exception(error)

    def _settle(self, segment: Segment) -> None:
        moved = replace(segment, start_s=segment.start_s + self._offset_s, end_s=segment.end_s + self._offset_s)
        self._segments.append(moved)
        self._attempts = 1
        # Whole samples, and never more than there are.
        settled = min(int(moved.end_s * self._rate_hz), self._kept_from + len(self._kept) // _SAMPLE_BYTES)
        if settled > self._kept_from:
            del self._kept[: (settled - self._kept_from) * _SAMPLE_BYTES]
            self._kept_from = settled
        self._events.on_segment(moved)

    def _finish(self, transcript: Transcript) -> None:
        """What was told segment by segment, or, where windows overlap, the whole."""
        if not self._segments and transcript.segments:
            self._segments = [
                replace(one, start_s=one.start_s + self._offset_s, end_s=one.end_s + self._offset_s)
                for one in transcript.segments
            ]
            for segment in self._segments:
                self._events.on_segment(segment)
        text = join_texts([one.text for one in self._segments])
        self._future.set_result(Transcript(text, tuple(self._segments), self._offset_s + transcript.audio_s))

    def _tell_audio(self, pcm: bytes) -> None:
        if pcm:
            self._sent += len(pcm)
            self._send({"op": "audio", "id": self._number}, pcm)
            self._make_room()

    def _make_room(self) -> None:
        if self._sent - self._taken <= AHEAD_S * self._rate_hz * _SAMPLE_BYTES:
            self._room.set()
        else:
            self._room.clear()
