"""Whole recordings by OpenAI's ``POST /v1/audio/transcriptions``."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
import socket
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from autotune.audio import Recording
from autotune.errors import AudioError
from autotune.loadgen.client import OVERLOADED, Access, Answer, Endpoint, fault, tls_context

__all__ = ["HttpClient"]

_KEEP_ALIVE_S = 2.0
"""Seconds after which an idle connection is given up: sooner than servers do (uvicorn: 5 s), which could then be
closing the connection that a request is sent on."""


class HttpClient:
    """Implements ``Client`` with aiohttp; bodies are encoded once, so that sending costs little."""

    _session: aiohttp.ClientSession
    _sockets: weakref.WeakSet[socket.socket]
    """Of this client's connections."""

    def __init__(self, where: Endpoint, recordings: Sequence[Recording], access: Access) -> None:
        self._url = where.url
        self._tls = tls_context(where, access)
        boundary = secrets.token_hex(16)
        self._headers = {**access.headers, "Content-Type": f"multipart/form-data; boundary={boundary}"}
        self._bodies = [_encoded(recording, access.model, boundary) for recording in recordings]

    async def __aenter__(self) -> Self:
        self._sockets = weakref.WeakSet()
        self._session = aiohttp.ClientSession(
            # A host's name is looked up once: that isn't the server's time, and fails where sockets have run out.
            connector=aiohttp.TCPConnector(
                limit=0,
                ssl=self._tls or True,
                keepalive_timeout=_KEEP_ALIVE_S,
                ttl_dns_cache=None,
                socket_factory=self._socket,
            ),
            headers=self._headers,
            # The requests are many users', who share no cookies: a balancer would send all of them to one replica.
            cookie_jar=aiohttp.DummyCookieJar(),
            # No time-outs of its own: for how long a request is under way is the schedule's affair.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        # aiohttp leaves a connection open that still has an upload to send, although the server has answered: with the
        # loop gone nobody would send or close it, and the server would wait for the rest.
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for _ in range(2):  # for asyncio to notice, and to close them
            await asyncio.sleep(0)

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def send(self, recording: int, spoken_from_s: float | None) -> Answer:
        """See ``Client``; nothing is spoken over HTTP."""
        assert spoken_from_s is None
        # Bytes would be sent in one piece, for which aiohttp warns from 1 MiB on.
        body = io.BytesIO(self._bodies[recording])
        try:
            async with self._session.post(self._url, data=body, allow_redirects=False) as response:
                if response.status != 200:
                    turned_away = response.status in OVERLOADED
                    return Answer("rejected" if turned_away else "failed", detail=f"HTTP {response.status}")
                content = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            # aiohttp's own text leaves the reason out where several addresses failed for different ones.
            return fault(error.__cause__ if isinstance(error.__cause__, OSError) else error)
        return _answer(content, asyncio.get_running_loop().time())


def _encoded(recording: Recording, model: str, boundary: str) -> bytes:
    """The body of a request: a form, as https://html.spec.whatwg.org/#multipart-form-data has it."""
    path = Path(recording.path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AudioError(f"{path} must be readable, but: {error.strerror}.") from error
    name = path.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    kind = "audio/wav" if path.suffix == ".wav" else "application/octet-stream"
    fields = {"model": model, "response_format": "json"}
    lines = [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{fields[key]}\r\n' for key in fields]
    lines.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n')
    lines.append(f"Content-Type: {kind}\r\n\r\n")
    return "".join(lines).encode() + data + f"\r\n--{boundary}--\r\n".encode()


def _answer(content: bytes, at_s: float) -> Answer:
    try:
        text = json.loads(content)["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        return Answer("failed", detail="the answer has no text")
    return Answer("ok", text=text, at_s=at_s)
