"""Real servers on a free port, in a thread: a queue with a known service time that can reject, fail, hang or stall."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("aiohttp", reason="the extra [serve] is not installed")
pytest.importorskip("python_multipart", reason="the extra [serve] is not installed")
pytest.importorskip("starlette", reason="the extra [serve] is not installed")
uvicorn = pytest.importorskip("uvicorn", reason="the extra [serve] is not installed")

from starlette.applications import Starlette  # noqa: E402
from starlette.datastructures import UploadFile  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse, Response  # noqa: E402
from starlette.routing import Route, WebSocketRoute  # noqa: E402
from starlette.websockets import WebSocket, WebSocketDisconnect  # noqa: E402

Mood = Literal["good", "hang", "fail", "empty"]


@dataclass
class Service:
    """One worker that takes ``service_s`` for each recording, first come first served; what it has seen."""

    service_s: float = 0.01
    mood: Mood = "good"
    texts: dict[str, str] = field(default_factory=dict)
    """Recording id → its text; others get one with their name."""
    most_waiting: int | None = None
    """Beyond which requests are rejected."""
    not_ready: int = 0
    """How many requests are answered with 503 at first."""
    stall_s: tuple[float, float] | None = None
    """When nothing is served, after the first measured request."""
    api_key: str | None = None
    waiting: int = 0
    received: list[str] = field(default_factory=list)
    """Ids, in the order in which they came."""
    ended_after_s: list[float] = field(default_factory=list)
    """Of each stream: from its header to the end of its speech."""
    blocks: list[int] = field(default_factory=list)
    """Of each stream: bytes of every message."""
    ports: set[int] = field(default_factory=set)
    """From which recordings came over HTTP."""
    uploads: list[bytes] = field(default_factory=list)
    """Files that came over HTTP, warm-up included."""
    last_result: dict[str, Any] = field(default_factory=lambda: {"is_final": True})
    """What marks a stream's last result."""
    _free_s: float = 0.0
    _began_s: float | None = None

    def admit(self, name: str) -> int | None:
        """A status to reject with, or None."""
        if self.not_ready > 0:
            self.not_ready -= 1
            return 503
        self.received.append(name)
        if self._began_s is None and not name.startswith("warmup"):
            self._began_s = time.monotonic()
        return 429 if self.most_waiting is not None and self.waiting >= self.most_waiting else None

    async def text(self, name: str) -> str:
        """Its text, when its turn has come."""
        self.waiting += 1
        try:
            now_s = time.monotonic()
            start_s = max(now_s, self._free_s)
            if self.stall_s is not None and self._began_s is not None:
                begins_s, ends_s = (self._began_s + edge_s for edge_s in self.stall_s)
                start_s = ends_s if begins_s <= start_s < ends_s else start_s
            self._free_s = start_s + self.service_s
            await asyncio.sleep(3600 if self.mood == "hang" else self._free_s - now_s)
        finally:
            self.waiting -= 1
        return self.texts.get(name, f"text of {name}")

    async def transcriptions(self, request: Request) -> Response:
        """OpenAI's endpoint."""
        async with request.form() as form:
            file = form["file"]
            assert isinstance(file, UploadFile)
            self.uploads.append(await file.read())
        assert request.client is not None
        self.ports.add(request.client.port)
        if self.api_key is not None and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            return Response(status_code=401)
        assert form["response_format"] == "json"
        name = (file.filename or "").removesuffix(".wav")
        status = self.admit(name)
        if status is not None:
            return Response(status_code=status, headers={"Retry-After": "1"})
        if self.mood == "fail":
            return Response(status_code=500)
        text = await self.text(name)
        return JSONResponse({"words": []} if self.mood == "empty" else {"text": text})

    async def stream(self, socket: WebSocket) -> None:
        """FunASR's protocol."""
        await socket.accept()
        try:
            header = json.loads(await socket.receive_text())
            began_s = time.monotonic()
            name = header["wav_name"]
            if self.admit(name) is not None:
                await socket.close(1013)
                return
            while (message := await socket.receive()).get("text") is None:
                if message["type"] == "websocket.disconnect":
                    return
                self.blocks.append(len(message["bytes"]))
            assert json.loads(message["text"])["is_speaking"] is False
            self.ended_after_s.append(time.monotonic() - began_s)
            if self.mood == "fail":
                await socket.close(1011)
                return
            mode = "2pass-offline" if header["mode"] == "2pass" else header["mode"]
            reply = {"mode": mode, "wav_name": name, "text": await self.text(name)} | self.last_result
            await socket.send_text("no JSON" if self.mood == "empty" else json.dumps(reply))
            await socket.receive()
        except WebSocketDisconnect:
            return


@contextlib.contextmanager
def serving(service: Service, certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """``HOST:PORT`` of a server that is up, and goes down at the end; with a certificate and its key it speaks TLS."""
    app = Starlette(
        routes=[
            Route("/v1/audio/transcriptions", service.transcriptions, methods=["POST"]),
            WebSocketRoute("/", service.stream),
        ]
    )
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every answer waits 40 ms for an ACK.
    listening = socket.socket(proto=socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    cert, key = certificate or (None, None)
    config = uvicorn.Config(
        app,
        lifespan="off",
        log_level="critical",
        ws="websockets-sansio",
        timeout_graceful_shutdown=1,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextlib.contextmanager
def dropping() -> Iterator[str]:
    """``HOST:PORT`` of a server that hangs up on everybody who has said something."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stopped = threading.Event()

        def serve() -> None:
            while True:
                connection, _ = listening.accept()
                with connection:
                    if stopped.is_set():
                        return
                    connection.recv(1024)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stopped.set()
            socket.create_connection(listening.getsockname()).close()
            thread.join()
