"""Guards in front of the application: who may ask, from which pages, how much may be sent, and how slowly."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autotune.recognizer.admission import Rejected
from autotune.serve.page import PAGE_PATHS

__all__ = ["BodyRules", "Callers", "Pace", "RequestGuard"]

OPEN_PATHS = ("/healthz", "/readyz", "/metrics", "/openapi.json")
"""Paths that are answered without a key, as the page's are; a WebSocket at ``/`` needs it."""
_AT_ONCE_BYTES = 256 << 10
"""Bytes that are passed on together: each part is written by a thread, which costs as much as a hundred kilobytes."""
_LINGER_S, _LINGER_SILENCE_S = 10.0, 2.0
"""Seconds for which the rest of a refused body is read and dropped, and of silence after which it isn't waited for."""


@dataclass(frozen=True)
class BodyRules:
    """The limits that a request's body must keep."""

    most_bytes: int
    idle_s: float
    """Longest silence of a sender, seconds; and the window over which its speed is judged."""
    bytes_per_s: float
    """Slowest speed."""


class Pace:
    """How fast a client sends, window by window: on average, one that has sent much might drip for hours."""

    def __init__(self, window_s: float, bytes_per_s: float) -> None:
        self._window_s, self._least = window_s, window_s * bytes_per_s
        self._waited_s, self._bytes = 0.0, 0

    def took(self, waited_s: float, count: int) -> bool:
        """Count bytes for which the client was waited for; whether it is too slow."""
        self._waited_s += waited_s
        self._bytes += count
        if self._waited_s < self._window_s:
            return False
        slow = self._bytes < self._least
        self._waited_s, self._bytes = 0.0, 0
        return slow


@dataclass(frozen=True)
class Callers:
    """Whom the server answers: who has a key, and which web pages."""

    api_keys: Collection[str] = field(default=(), repr=False)
    """See ``ServeOptions``."""
    origins: Collection[str] = ()
    """Of web pages, beside the server's own; ``*``: any."""
    hosts: Collection[str] = ()
    """Names of the server, beside ``localhost`` and addresses, that its own page may be asked for by."""

    def check(self, scope: Scope) -> None:
        """Raise Rejected unless who asks may ask."""
        headers = Headers(scope=scope)
        # Browsers name the page's own address as the origin of its scripts; what it then asks is looked at.
        if scope["type"] == "http" and scope["path"] in PAGE_PATHS:
            return
        if not self.api_keys:
            self._check_origin(headers)
        elif scope["type"] == "websocket" or scope["path"] not in OPEN_PATHS:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            # Some clients of FunASR's protocol write "Bearer; KEY". Browsers can send no header with a WebSocket, but
            # subprotocols, whose names may not have all characters of a key (base64's "/" and "=").
            names = scope.get("subprotocols", [])
            offered = [given.strip()] if scheme.lower().rstrip(";") == "bearer" else [*names, *map(unquote, names)]
            # Compared in constant time, or the time would tell how much of a guessed key is right.
            right = [hmac.compare_digest(key.encode(), one.encode()) for key in offered for one in self.api_keys]
            if not any(right):
                raise Rejected(
                    "unauthorised",
                    'Send the key as "Authorization: Bearer KEY", or with a WebSocket as a subprotocol.',
                    status=401,
                )

    def _check_origin(self, headers: Headers) -> None:
        """Without a key, any page that a user of this machine opens could ask: browsers say which page it is."""
        origin = headers.get("origin")
        if origin is None or origin in self.origins or "*" in self.origins:
            return
        host = headers.get("host", "")
        # The name as well: one that an attacker's name server answers for may point to this machine (DNS rebinding).
        if origin.lower().partition("://")[2] == host.lower() and self._is_own(host):
            return
        raise Rejected(
            "foreign_page",
            f"Pages of {origin[:200]!r} may not ask this server. It allows them with --cors-origin, or with a key.",
            status=403,
        )

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class RequestGuard:
    """ASGI middleware that turns requests away before the application sees anything of them."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        callers: Callers,
        rules: BodyRules,
        check: Callable[[], None],
        refuse: Callable[[Rejected], ASGIApp],
    ) -> None:
        """Wrap an application.

        Args:
            app: what is guarded.
            callers: who may ask.
            rules: the limits of bodies.
            check: raises Rejected if an upload would be turned away whatever it holds.
            refuse: the answer to a request that is turned away.
        """
        self._app, self._callers, self._rules, self._check, self._refuse = app, callers, rules, check, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or turn it away."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        body = None
        if scope["type"] == "http":
            body = _Body(self._rules, scope, receive, send)
            receive, send = body.receive, body.send
        try:
            self._callers.check(scope)
            if body is not None and scope["method"] == "POST":
                self._check()
            if body is not None:
                body.check_announced()
            await self._app(scope, receive, send)
        except Rejected as rejected:
            await self._refuse(rejected)(scope, receive, send)


class _Body:
    """A body that must come in time and stay within the limit."""

    def __init__(self, rules: BodyRules, scope: Scope, receive: Receive, send: Send) -> None:
        self._rules, self._receive, self._send = rules, receive, send
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        self._announced = int(length) if length.isdigit() else 0
        self._complete = not self._announced and "transfer-encoding" not in headers
        self._waits_to_send = "expect" in headers
        self._pace = Pace(rules.idle_s, rules.bytes_per_s)
        self._received = 0
        self._refused = False

    def check_announced(self) -> None:
        """Raise Rejected if it will be too large."""
        if self._announced > self._rules.most_bytes:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next quarter of a mebibyte, or what is left. Raises Rejected if it comes too slowly, or is too much."""
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
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._rules.idle_s):
                message = await self._receive()
        except TimeoutError:
            raise self._too_slow() from None
        if message["type"] == "http.request":
            count = len(message.get("body", b""))
            self._received += count
            self._complete = not message.get("more_body", False)
            if self._received > self._rules.most_bytes:
                raise self._too_large()
            if self._pace.took(time.monotonic() - began, count) and not self._complete:
                raise self._too_slow()
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on; before the body's end it closes the connection, or the sender could hold it for ever."""
        if message["type"] == "http.response.start" and not self._complete:
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            self._refused = True
        if self._refused and message["type"] == "http.response.body" and not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._drop_rest()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _drop_rest(self) -> None:
        """Read what a sender goes on sending: closing at once would reset the connection, and the answer with it.

        See RFC 9112, section 9.6.
        """
        if self._waits_to_send and not self._received:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while not self._complete:
                    async with asyncio.timeout(_LINGER_SILENCE_S):
                        message = await self._receive()
                    self._complete = message["type"] != "http.request" or not message.get("more_body", False)

    def _too_large(self) -> Rejected:
        most = self._rules.most_bytes
        return Rejected("too_large", f"An upload must be at most {most} bytes. Send less, or compressed.", status=413)

    def _too_slow(self) -> Rejected:
        return Rejected("slow_sender", "The upload came too slowly. Send it again.", status=408)
