"""FunASR's WebSocket protocol (``runtime/docs/websocket_protocol.md``), for its own clients unchanged.

A JSON header, PCM, ``{"is_speaking": false}``; mode ``offline`` gives one result for the whole recording, ``2pass`` a
result for each pause and, where the measured speed carries it, interim ones every second; ``online`` gives the same
text as pieces to be appended. ``is_end``, which FunASR's Python client sends and waits for, comes back with the last
result. Several recordings may follow each other on one connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
import wave
from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from autotune.errors import AudioError
from autotune.recognizer import Segment, Transcript
from autotune.recognizer.admission import Rejected
from autotune.recognizer.decoding import join_texts
from autotune.serve.agreement import Agreement
from autotune.serve.guard import Pace
from autotune.serve.header import Header
from autotune.serve.live import AHEAD_S, StreamEvents
from autotune.serve.service import Service
from autotune.serve.uploads import Upload
from autotune.serve.wire import BackendError

__all__ = ["Speech", "converse"]

SUBPROTOCOL = "binary"
MESSAGES_AHEAD, BYTES_AHEAD = 64, 1 << 20
"""Received messages, and their bytes, that wait to be handled; TCP holds back a client that is further ahead."""
POLICY_VIOLATION, TRY_AGAIN_LATER, RESTARTING, INTERNAL_ERROR = 1008, 1013, 1012, 1011
"""Close codes (https://www.iana.org/assignments/websocket)."""


async def converse(socket: WebSocket, service: Service) -> None:
    """Serve one connection until it is closed, and close it with the code that says why."""
    offered = socket.scope.get("subprotocols", [])
    # FunASR's Python client offers "binary", its HTML5 page nothing; clients refuse a name that they didn't offer.
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    code, reason = 1000, ""
    try:
        with service.conversation():
            service.admission.check_stream()
            service.check_worker()
            reason = await _Session(socket, service).run()
    except Rejected as rejected:
        service.metrics.rejected(rejected.reason)
        code = TRY_AGAIN_LATER if rejected.retry_after_s is not None else POLICY_VIOLATION
        reason = f"{rejected}"
    except (ValueError, AudioError) as error:
        code, reason = POLICY_VIOLATION, service.without_paths(f"{error}")
    except BackendError as error:
        code, reason = INTERNAL_ERROR, service.without_paths(f"{error}")
    except WebSocketDisconnect:
        return  # the client has left: there is nobody to send a close code to
    except Exception as error:  # noqa: BLE001 - a full disk, anything: the client must get a reason
        service.tell_error(error)
        code, reason = INTERNAL_ERROR, "The server failed on this recording. Send it again."
    if service.draining.is_set() and code == 1000:
        code, reason = RESTARTING, "The server is stopping."
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        if socket.application_state == WebSocketState.CONNECTED:
            # A close frame has at most 125 bytes, two of them the code (RFC 6455, 5.5).
            await socket.close(code, reason.encode()[:120].decode(errors="ignore"))


class _Session:
    """One connection: recordings, one after another."""

    def __init__(self, socket: WebSocket, service: Service) -> None:
        self._socket, self._service = socket, service
        self._header = Header()
        self._inbox: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(MESSAGES_AHEAD)
        self._inbox_bytes = 0
        """Of messages that are received and not handled yet."""
        self._room = asyncio.Event()
        self._place = contextlib.ExitStack()
        """A stream's place, from the first audio of a recording to its end."""

    async def run(self) -> str:
        """Handle messages until the server stops, or the client is silent for too long: says so.

        Raises WebSocketDisconnect when the client leaves.
        """
        reading, working = asyncio.create_task(self._read()), asyncio.create_task(self._work())
        try:
            await asyncio.wait({reading, working}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                reading.result()
            return await working
        finally:
            for task in (reading, working):
                task.cancel()
            # Waited for, so that the recording is closed and its upload deleted before the place is free for another.
            await asyncio.gather(reading, working, return_exceptions=True)
            self._service.messages.hold(self, 0)

    async def _read(self) -> None:
        """Receive ahead of the work: only a pending receive notices that a client left while it waited for a result."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            self._handled(-_size(message))
            await self._inbox.put(message)
            while self._inbox_bytes > BYTES_AHEAD:
                self._room.clear()
                await self._room.wait()

    def _handled(self, count: int) -> None:
        """So many bytes of messages are no longer held here. Raises Rejected where more are and there is no room."""
        self._inbox_bytes -= count
        self._service.messages.hold(self, self._inbox_bytes)
        self._room.set()

    async def _work(self) -> str:
        recording: _Upload | Speech | None = None
        try:
            while (message := await self._next(recording)) is not None:
                if message.get("bytes") is not None:
                    recording = recording or self._begin()
                    await recording.feed(message["bytes"])
                    self._handled(_size(message))
                    continue
                self._handled(_size(message))
                command = self._parsed(message.get("text") or "")
                self._header = self._header.updated(command)
                if command.get("is_speaking", True) is False:
                    # A recording without audio is answered too: FunASR's client waits for its result.
                    recording = recording or self._begin()
                    await recording.finish(is_end=command.get("is_end") is True)
                    self._end(recording)
                    recording = None
            # What was spoken so far still gets its text.
            if isinstance(recording, Speech):
                await recording.finish(is_end=False)
            return f"The client sent nothing for {self._silent_s(recording):g} s (--stream-idle)."
        finally:
            if recording is not None:
                self._end(recording)

    async def _next(self, recording: _Upload | Speech | None) -> Mapping[str, Any] | None:
        """The client's next message; None when it is silent for too long, or the server stops.

        Raises:
            Rejected: the client is silent in the middle of an upload.
        """
        receiving = asyncio.create_task(self._inbox.get())
        draining = asyncio.create_task(self._service.draining.wait())
        # An upload is received to its end even while the server stops: it was accepted.
        waited_for = {receiving} if isinstance(recording, _Upload) else {receiving, draining}
        try:
            began = time.monotonic()
            silent_s = self._silent_s(recording)
            await asyncio.wait(waited_for, timeout=silent_s, return_when=asyncio.FIRST_COMPLETED)
            message = receiving.result() if receiving.done() else None
            if isinstance(recording, _Upload) and (
                message is None or recording.pace.took(time.monotonic() - began, _size(message))
            ):
                raise Rejected("slow_sender", "The recording came too slowly. Send it again.", status=408)
            return message
        finally:
            receiving.cancel()
            draining.cancel()

    def _silent_s(self, recording: _Upload | Speech | None) -> float:
        """Seconds for which the client may send nothing; without a recording it has no reason to stay for long."""
        options = self._service.options
        if isinstance(recording, Speech):
            return options.stream_idle_s
        return 2 * options.idle_s if recording is not None else min(2 * options.idle_s, options.stream_idle_s)

    def _begin(self) -> _Upload | Speech:
        self._service.check_worker()
        self._place.enter_context(self._service.admission.stream())
        kind = _Upload if self._header.mode == "offline" else Speech
        try:
            return kind(self._socket, self._service, self._header)
        except BaseException:
            self._place.close()
            raise

    def _end(self, recording: _Upload | Speech) -> None:
        recording.close()
        self._place.close()

    @staticmethod
    def _parsed(text: str) -> Mapping[str, Any]:
        try:
            command = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"a text message must be JSON, but got {text[:40]!r}") from error
        if not isinstance(command, dict):
            raise ValueError(f"a message must be a JSON object, but got {text[:40]!r}")
        return command


class _Upload:
    """A recording of mode ``offline``: written to a file, then recognised like an upload over HTTP."""

    def __init__(self, socket: WebSocket, service: Service, header: Header) -> None:
        self._socket, self._service, self._header = socket, service, header
        self._held = contextlib.ExitStack()
        self._file: Upload = self._held.enter_context(service.upload())
        self.pace = Pace(2 * service.options.idle_s, service.options.bytes_per_s)
        self._wave: wave.Wave_write | None = None
        if header.raw:
            self._wave = wave.open(self._file, "wb")  # noqa: SIM115 - closed by finish or close
            self._wave.setnchannels(1)
            self._wave.setsampwidth(2)
            self._wave.setframerate(header.audio_fs)
        self._bytes = 0

    async def feed(self, content: bytes) -> None:
        self._bytes += len(content)
        most = self._service.limits.body_bytes
        if self._bytes > most:
            raise Rejected("too_large", f"A recording must have at most {most} bytes.", status=413)
        if self._wave is not None:
            self._wave.writeframesraw(content)
        else:
            self._file.write(content)

    async def finish(self, *, is_end: bool) -> None:
        if not self._bytes:
            await _send(self._socket, self._header, "offline", "", is_final=True, is_end=is_end)
            return
        if self._wave is not None:
            self._wave.close()
        self._file.close()
        transcript = await self._service.transcribe(self._file.path, self._header.asked(self._service))
        stamps = [_stamp(segment) for segment in transcript.segments if segment.text]
        await _send(
            self._socket,
            self._header,
            "offline",
            transcript.text,
            is_final=True,
            is_end=is_end,
            more={"stamp_sents": stamps, "timestamp": _timestamp(*transcript.segments)},
        )

    def close(self) -> None:
        with contextlib.suppress(OSError, wave.Error, Rejected):
            if self._wave is not None:
                self._wave.close()
        self._held.close()


class Speech:
    """A recording that is being spoken: its segments are sent as they are settled."""

    def __init__(self, socket: WebSocket, service: Service, header: Header) -> None:
        self._socket, self._header = socket, header
        if not header.raw:
            raise ValueError(f'wav_format must be "pcm" in mode {header.mode}, but got {header.wav_format!r}')
        asked = header.asked(service)
        self._agreement = Agreement()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._sender = asyncio.create_task(self._send_all())
        self._service = service
        self._ending = False
        self._held: dict[str, Any] | None = None
        """The last result of a recording that ends, which goes with ``is_final``."""
        self._said = ""
        """The text of all segments that were settled."""
        self._odd = b""
        """Half a sample: the end of a message with an odd number of bytes."""
        self._most_s = service.limits.duration_s
        self._stream = service.backend.open(header.audio_fs, StreamEvents(self._settled, self._interim), asked)

    async def feed(self, content: bytes) -> None:
        """Take the next bytes of PCM; raises what ended the stream."""
        whole = self._odd + content
        cut = len(whole) // 2 * 2
        self._odd = whole[cut:]
        # Piece by piece: a long message must not lie on its way to the worker as a whole.
        step = int(AHEAD_S / 2 * self._header.audio_fs) * 2
        for at in range(0, cut, step):
            await self._stream.feed(whole[at : min(at + step, cut)])
        if self._stream.received_s > self._most_s:
            raise Rejected("too_long", f"A recording must be at most {self._most_s:g} s long.", status=413)
        if self._service.interims:
            self._stream.ask_interim()

    async def finish(self, *, is_end: bool) -> None:
        """Wait for the texts, and send the last one with ``is_final``."""
        self._ending = True
        transcript = await self._stream.finish()
        # FunASR's clients take ``is_final`` for the last message: all texts must have been sent before it. Its own
        # server's last message has the last result, and some clients read no other.
        await self._outbox.join()
        await _send(self._socket, self._header, is_final=True, is_end=is_end, **self._last(transcript))

    def _last(self, transcript: Transcript) -> dict[str, Any]:
        """The last result. A segment may be settled before anybody knows that it is the last: its full stop is here."""
        pairs = zip(self._said, transcript.text, strict=False)
        shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
        changed, end = len(self._said) - shared, transcript.text[shared:]
        if self._held is None:
            # A comma that was sent can't be taken back.
            return {"mode": self._final_mode, "text": "" if changed else end}
        if changed > 1:
            return self._held
        text = self._held["text"]
        return {**self._result(transcript.segments[-1]), "text": text[: len(text) - changed] + end}

    def close(self) -> None:
        """Forget the recording and what its client sent of it."""
        self._sender.cancel()
        self._stream.close()

    @property
    def _final_mode(self) -> str:
        return "2pass-offline" if self._header.mode == "2pass" else "online"

    def _settled(self, segment: Segment) -> None:
        self._said = join_texts([self._said, segment.text])
        rest = self._agreement.settle(segment.text)
        # In 2pass the whole text replaces the interim ones; in online, clients append it to them.
        text = segment.text if self._header.mode == "2pass" else rest
        if text:
            result = {**self._result(segment), "text": text}
            before, self._held = self._held, result if self._ending else None
            for ready in (before, None if self._ending else result):
                if ready is not None:
                    self._outbox.put_nowait(ready)

    def _result(self, segment: Segment) -> dict[str, Any]:
        """A segment's result but for its text."""
        return {"mode": self._final_mode, "more": {"stamp_sents": [_stamp(segment)], "timestamp": _timestamp(segment)}}

    def _interim(self, text: str) -> None:
        new = self._agreement.push(text)
        if new:
            mode = "2pass-online" if self._header.mode == "2pass" else "online"
            self._outbox.put_nowait({"mode": mode, "text": new})

    async def _send_all(self) -> None:
        while True:
            result = await self._outbox.get()
            try:
                await _send(self._socket, self._header, is_final=False, is_end=False, **result)
            finally:
                self._outbox.task_done()


def _size(message: Mapping[str, Any]) -> int:
    return len(message.get("bytes") or message.get("text") or "")


async def _send(
    socket: WebSocket,
    header: Header,
    mode: str,
    text: str,
    *,
    is_final: bool,
    is_end: bool,
    more: Mapping[str, Any] | None = None,
) -> None:
    message: dict[str, Any] = {"mode": mode, "wav_name": header.wav_name, "text": text, "is_final": is_final}
    # Not in websocket_protocol.md: funasr_wss_client.py sends it and waits for it to come back with ``is_final``.
    if is_end:
        message["is_end"] = True
    message |= {name: value for name, value in (more or {}).items() if value}
    # Starlette's errors where the client has left meanwhile; the pending receive notices that too.
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.send_text(json.dumps(message, ensure_ascii=False))


def _stamp(segment: Segment) -> dict[str, Any]:
    """A segment as FunASR's ``stamp_sents`` has it, times in milliseconds."""
    return {
        "text_seg": segment.text,
        "punc": "",
        "start": round(segment.start_s * 1000),
        "end": round(segment.end_s * 1000),
        "ts_list": _times_ms(segment),
    }


def _times_ms(segment: Segment) -> list[list[int]]:
    return [[round(word.start_s * 1000), round(word.end_s * 1000)] for word in segment.words]


def _timestamp(*segments: Segment) -> str:
    """Times of all words as FunASR's servers send them, a JSON text in JSON; empty where there are none."""
    times = [pair for segment in segments for pair in _times_ms(segment)]
    return json.dumps(times, separators=(",", ":")) if times else ""
