"""Recordings by FunASR's WebSocket protocol, sent at once or in blocks as they are spoken.

https://github.com/modelscope/FunASR/blob/main/runtime/docs/websocket_protocol.md: a JSON header, 16-bit PCM,
``{"is_speaking": false}``, JSON results. What is there already goes in mode ``offline``, what is being spoken in mode
``2pass``. Which result is the last differs: the one with ``is_final``, or with ``is_end`` (FunASR's Python server), or
the first one of mode ``offline`` after the end (its C++ server, which says ``is_final: false``).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from autotune.audio import Recording, read_audio
from autotune.audio.reading import SAMPLE_RATE_HZ
from autotune.loadgen.client import OVERLOADED, Access, Answer, Endpoint, fault, tls_context

__all__ = ["WebSocketClient"]

_BYTES_PER_S = 2 * SAMPLE_RATE_HZ
_SPOKEN_BYTES = _BYTES_PER_S // 10
"""Bytes that are sent at once of a recording that is being spoken: 0.1 s, as in trials."""
_WHOLE_BYTES = 10 * _BYTES_PER_S
"""Bytes that are sent at once of a whole recording: less than the 1 MiB that servers take in one message."""
_TRY_AGAIN_LATER = 1013
_ABNORMAL = 1006
_MAX_REPLY_BYTES = 2**24
_CLOSE_S = 1.0


@dataclass
class _Replies:
    """The server's answers to one recording so far."""

    ended: bool = False
    """Whether the client has sent the message that ends the recording."""
    texts: list[str] = field(default_factory=list)


class WebSocketClient:
    """Implements ``Client`` with websockets; one connection a recording."""

    def __init__(self, where: Endpoint, recordings: Sequence[Recording], access: Access) -> None:
        self._url = where.url
        self._headers = access.headers
        self._tls = tls_context(where, access)
        self._names = [recording.id for recording in recordings]
        self._pcm = [_pcm(Path(recording.path)) for recording in recordings]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def send(self, recording: int, spoken_from_s: float | None) -> Answer:
        """Stream the recording and wait for its final text, as ``Client`` says."""
        try:
            # No pings: a server too busy to answer them shall be seen to be late, not be hung up on.
            async with connect(
                self._url,
                additional_headers=self._headers,
                ssl=self._tls,
                proxy=None,
                compression=None,
                open_timeout=None,
                ping_interval=None,
                close_timeout=_CLOSE_S,
                max_size=_MAX_REPLY_BYTES,
            ) as socket:
                return await self._converse(socket, recording, spoken_from_s)
        except ConnectionClosed as error:
            code, why = (error.rcvd.code, error.rcvd.reason) if error.rcvd is not None else (_ABNORMAL, "")
            detail = f"closed with {code}: {why}".rstrip(": ")
            return Answer("rejected" if code == _TRY_AGAIN_LATER else "failed", detail=detail)
        except InvalidStatus as error:
            code = error.response.status_code
            return Answer("rejected" if code in OVERLOADED else "failed", detail=f"HTTP {code}")
        except (WebSocketException, OSError, ValueError) as error:
            return fault(error)

    async def _converse(self, socket: ClientConnection, recording: int, spoken_from_s: float | None) -> Answer:
        replies = _Replies()
        listening = asyncio.create_task(_listen(socket, replies))
        try:
            await socket.send(_header(self._names[recording], "offline" if spoken_from_s is None else "2pass"))
            lag_s = await _speak(socket, self._pcm[recording], spoken_from_s)
            replies.ended = True
            await socket.send(json.dumps({"is_speaking": False, "is_end": True}))
            at_s = await listening
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        if at_s is None:
            return Answer("failed", detail="closed before the text", lag_s=lag_s)
        return Answer("ok", text=" ".join(filter(None, replies.texts)), at_s=at_s, lag_s=lag_s)


def _pcm(path: Path) -> bytes:
    """A recording's samples as 16-bit little-endian PCM, 16 kHz mono."""
    # As 16-bit wav files are read: their samples come out as they went in.
    samples = np.clip(np.round(read_audio(path) * np.float32(32768)), -32768, 32767).astype("<i2")
    return bytes(samples.tobytes())


def _header(name: str, mode: str) -> str:
    header: dict[str, Any] = {
        "mode": mode,
        "wav_name": name,
        "wav_format": "pcm",
        "audio_fs": SAMPLE_RATE_HZ,
        "is_speaking": True,
        "itn": False,  # transcripts are as spoken
        "chunk_size": [5, 10, 5],  # FunASR's Python server must have them, whatever the mode
        "chunk_interval": 10,
    }
    return json.dumps(header)


async def _speak(socket: ClientConnection, pcm: bytes, spoken_from_s: float | None) -> float:
    """Send the samples, each block when its last sample has been spoken; seconds by which the last was sent late."""
    loop = asyncio.get_running_loop()
    lag_s = 0.0
    step = _WHOLE_BYTES if spoken_from_s is None else _SPOKEN_BYTES
    for first in range(0, len(pcm), step):
        block = pcm[first : first + step]
        if spoken_from_s is not None:
            due_s = spoken_from_s + (first + len(block)) / _BYTES_PER_S
            # A block that is late already was held up by the server: that is no lag of the client.
            ahead_s = due_s - loop.time()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            lag_s = loop.time() - due_s if ahead_s > 0 else 0.0
        await socket.send(block)
    return lag_s


async def _listen(socket: ClientConnection, replies: _Replies) -> float | None:
    """Gather the texts; the event loop's time at which the last one came, or None if there was none."""
    loop = asyncio.get_running_loop()
    at_s: float | None = None
    async for message in socket:
        reply = json.loads(message)
        if not isinstance(reply, dict):
            raise ValueError(f"a reply must be a JSON object, but got {message!r:.80}")
        if reply.get("mode") in ("offline", "2pass-offline"):
            replies.texts.append(str(reply.get("text", "")))
        at_s = loop.time()
        if replies.ended and (reply.get("is_final") or reply.get("is_end") or reply.get("mode") == "offline"):
            return at_s
    # Closed in good order: that is an end too, if there was one to wait for.
    return at_s if replies.ended and replies.texts else None
