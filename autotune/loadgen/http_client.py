"""Whole recordings by OpenAI's ``POST /v1/audio/transcriptions``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from autotune.audio.recording import Recording
from autotune.errors import AudioError
from autotune.loadgen.client import OVERLOADED, Access, Answer, Endpoint, fault, tls_context

__all__ = ["HttpClient", "HttpClients"]

_KEEP_ALIVE_S = 2.0
"""Idle connections are given up before a server does (uvicorn: 5 s), or a request could meet one being closed."""


class HttpClients:
    """A client of httpx for every request under way, used again after it.

    One client's pool goes through all of its connections at each request: with hundreds under way that would take
    longer than everything else.
    """

    def __init__(self, make: Callable[[], httpx.AsyncClient]) -> None:
        self._make = make
        self._every: list[httpx.AsyncClient] = []
        self._idle: list[httpx.AsyncClient] = []

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[httpx.AsyncClient]:
        """For one request at a time."""
        if self._idle:
            client = self._idle.pop()
        else:
            self._every.append(client := self._make())
        try:
            yield client
        finally:
            if not client.is_closed:
                self._idle.append(client)

    async def aclose(self) -> None:
        """Close all connections; later requests open new ones."""
        closing, self._every, self._idle = self._every, [], []
        for client in closing:
            await client.aclose()


class HttpClient:
    """Implements ``Client`` with httpx; bodies are encoded once, so that sending costs little."""

    def __init__(self, where: Endpoint, recordings: Sequence[Recording], access: Access) -> None:
        self._url = where.url
        self._headers = access.headers
        self._tls = tls_context(where, access)
        self._bodies = [_encoded(where.url, recording, access.model) for recording in recordings]
        self._clients = HttpClients(self._connecting)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._clients.aclose()

    def _connecting(self) -> httpx.AsyncClient:
        # No time-outs of its own: for how long a request is under way is the schedule's affair.
        limits = httpx.Limits(keepalive_expiry=_KEEP_ALIVE_S)
        tls = self._tls or False
        return httpx.AsyncClient(headers=self._headers, timeout=None, limits=limits, verify=tls, trust_env=False)

    async def send(self, recording: int, spoken_from_s: float | None) -> Answer:
        """See ``Client``; nothing is spoken over HTTP."""
        assert spoken_from_s is None
        body, kind = self._bodies[recording]
        try:
            async with self._clients.one() as client:
                response = await client.post(self._url, content=body, headers={"Content-Type": kind})
        except (httpx.RequestError, OSError) as error:
            return fault(error)
        return _answer(response, asyncio.get_running_loop().time())


def _encoded(url: str, recording: Recording, model: str) -> tuple[bytes, str]:
    """The multipart body of a request, and its content type."""
    path = Path(recording.path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AudioError(f"{path} must be readable, but: {error.strerror}.") from error
    request = httpx.Request(
        "POST",
        url,
        data={"model": model, "response_format": "json"},
        files={"file": (path.name, data, "application/octet-stream" if path.suffix != ".wav" else "audio/wav")},
    )
    return request.read(), request.headers["Content-Type"]


def _answer(response: httpx.Response, at_s: float) -> Answer:
    if response.status_code in OVERLOADED:
        return Answer("rejected", detail=f"HTTP {response.status_code}")
    if response.status_code != httpx.codes.OK:
        return Answer("failed", detail=f"HTTP {response.status_code}")
    try:
        text = response.json()["text"]
    except (ValueError, KeyError, TypeError):
        text = None
    if not isinstance(text, str):
        return Answer("failed", detail="the answer has no text")
    return Answer("ok", text=text, at_s=at_s)
