"""Guards in front of the application: who may ask, how much may be sent, and how slowly."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autotune.recognizer.admission import Rejected

__all__ = ["BodyRules", "RequestGuard"]

OPEN_PATHS = ("/healthz", "/readyz", "/metrics", "/", "/openapi.json")
"""Paths that are answered without a key; the page asks its user for one. A WebSocket at ``/`` needs it."""
_AT_ONCE_BYTES = 1 << 20
"""Bytes that are passed on together: each part is written by a thread, which costs as much as a hundred kilobytes."""


@dataclass(frozen=True)
class BodyRules:
    """The limits that a request's body must keep."""

    most_bytes: int
    idle_s: float
    """Longest silence of a sender, seconds."""
    bytes_per_s: float
    """Slowest average speed; the first ``idle_s`` seconds are free."""


class RequestGuard:
    """ASGI middleware that turns requests away before the application sees anything of them."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        api_key: str | None,
        rules: BodyRules,
        check: Callable[[], None],
        refuse: Callable[[Rejected], ASGIApp],
    ) -> None:
        """Wrap an application.

        Args:
            app: what is guarded.
            api_key: see ``ServeOptions``.
            rules: the limits of bodies.
            check: raises Rejected if an upload would be turned away whatever it holds.
            refuse: the answer to a request that is turned away.
        """
        self._app, self._rules, self._check, self._refuse = app, rules, check, refuse
        self._key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or turn it away."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        try:
            self._authorise(scope)
            if scope["type"] == "http" and scope["method"] == "POST":
                self._check()
                body = _Body(self._rules, receive, send)
                receive, send = body.receive, body.send
                body.check_announced(Headers(scope=scope).get("content-length", ""))
            await self._app(scope, receive, send)
        except Rejected as rejected:
            await self._refuse(rejected)(scope, receive, send)

    def _authorise(self, scope: Scope) -> None:
        if self._key is None or (scope["type"] == "http" and scope["path"] in OPEN_PATHS):
            return
        scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        # Some clients of FunASR's protocol write "Bearer; KEY". Browsers can send no header with a WebSocket.
        offered = [given.strip()] if scheme.lower().rstrip(";") == "bearer" else scope.get("subprotocols", [])
        # Compared in constant time, or the time would tell how much of a guessed key is right.
        if not any(hmac.compare_digest(key.encode(), self._key) for key in offered):
            raise Rejected(
                "unauthorised",
                'Send the key as "Authorization: Bearer KEY", or with a WebSocket as a subprotocol.',
                status=401,
            )


class _Body:
    """A body that must come in time and stay within the limit."""

    def __init__(self, rules: BodyRules, receive: Receive, send: Send) -> None:
        self._rules, self._receive, self._send = rules, receive, send
        self._started = time.monotonic()
        self._received = 0
        self._begun = self._complete = False

    def check_announced(self, length: str) -> None:
        """Raise Rejected if it will be too large."""
        if length.isdigit() and int(length) > self._rules.most_bytes:
            self._begun = True
            raise self._too_large()

    async def receive(self) -> Message:
        """The next mebibyte, or what is left. Raises Rejected if it doesn't come in time, or is too much."""
        if self._complete:
            return await self._receive()
        parts = bytearray()
        while True:
            message = await self._part()
            if message["type"] != "http.request":
                return message
            parts += message.get("body", b"")
            if self._complete or len(parts) >= _AT_ONCE_BYTES:
                return {**message, "body": bytes(parts)}

    async def _part(self) -> Message:
        """The next part of the body, if it comes in time and the whole is not too large."""
        self._begun = True
        try:
            async with asyncio.timeout(self._rules.idle_s):
                message = await self._receive()
        except TimeoutError:
            raise self._too_slow() from None
        if message["type"] == "http.request":
            self._received += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._received > self._rules.most_bytes:
                raise self._too_large()
            # By the average too: a byte every 29 s is never silent for too long, and would hold its place for ever.
            allowed_s = self._rules.idle_s + self._received / self._rules.bytes_per_s
            if not self._complete and time.monotonic() - self._started > allowed_s:
                raise self._too_slow()
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on; amid the body it closes the connection, or the sender could hold it for ever."""
        if message["type"] == "http.response.start" and self._begun and not self._complete:
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        await self._send(message)

    def _too_large(self) -> Rejected:
        most = self._rules.most_bytes
        return Rejected("too_large", f"An upload must be at most {most} bytes. Send less, or compressed.", status=413)

    def _too_slow(self) -> Rejected:
        return Rejected("slow_sender", "The upload came too slowly. Send it again.", status=408)
