"""Whole recordings by OpenAI's ``POST /v1/audio/transcriptions``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from autotune.audio.recording import Recording
from autotune.errors import AudioError
from autotune.loadgen.clients import OVERLOADED, Access, Answer, fault, tls_context
from autotune.loadgen.endpoint import Endpoint

__all__ = ["HttpClient"]

_KEEP_ALIVE_S = 2.0
"""Idle connections are given up before a server does (uvicorn: 5 s), or a request could meet one being closed."""


class HttpClient:
    """Implements ``Client`` with httpx; bodies are encoded once, so that sending costs little."""

    def __init__(self, where: Endpoint, recordings: Sequence[Recording], access: Access) -> None:
        self._url = where.url
        self._headers = access.headers
        self._tls = tls_context(where, access)
        self._bodies = [_encoded(where.url, recording, access.model) for recording in recordings]
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        # No limits and no time-outs of its own: how many are under way, and for how long, is the schedule's affair.
        self._http = httpx.AsyncClient(
            headers=self._headers,
            timeout=None,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=_KEEP_ALIVE_S),
            verify=self._tls or False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def send(self, recording: int, spoken_from_s: float | None) -> Answer:
        """See ``Client``; nothing is spoken over HTTP."""
        assert self._http is not None
        assert spoken_from_s is None
        body, kind = self._bodies[recording]
        try:
            response = await self._http.post(self._url, content=body, headers={"Content-Type": kind})
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
