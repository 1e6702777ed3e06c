"""The contract of clients: one recording in, what the server made of it out."""

from __future__ import annotations

import errno
import math
import os
import re
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol, Self
from urllib.parse import urlsplit, urlunsplit

from autotune.documents import Document
from autotune.errors import DocumentError
from autotune.redaction import redacted

__all__ = [
    "OVERLOADED",
    "Access",
    "Answer",
    "Client",
    "Endpoint",
    "ProtocolName",
    "SentRequest",
    "Status",
    "endpoint",
    "fault",
    "tls_context",
]

OVERLOADED = frozenset((429, 503))
"""HTTP statuses that reject a request for want of room; WebSockets are closed with 1013."""

_OWN_ERRNOS = frozenset((errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM))


@dataclass(frozen=True)
class Access:
    """What a client sends besides the recordings: its key and the model's name; and whether it checks certificates."""

    api_key: str | None = field(default=None, repr=False)
    model: str = "funasr"
    """Value of the form field ``model`` of an HTTP request."""
    insecure: bool = False
    """Whether any TLS certificate is accepted."""

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of every request."""
        return {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}


@dataclass(frozen=True)
class Answer:
    """What the server made of one recording."""

    status: Status
    text: str | None = None
    detail: str = ""
    at_s: float | None = None
    """When the text was whole, in seconds of the event loop's clock; None unless ``ok``."""
    lag_s: float = 0.0
    """Seconds by which the client itself sent the last block too late; 0 where nothing is spoken."""


class Client(Protocol):
    """Sends recordings. Opened as an asynchronous context manager, used in one event loop at a time."""

    async def __aenter__(self) -> Self:
        """Open what sending needs: sessions, not yet connections."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what ``__aenter__`` opened, with all connections that are kept between requests."""
        ...

    async def send(self, recording: int, spoken_from_s: float | None) -> Answer:
        """Send a recording and wait for its text, however long it takes; what the server does wrong is an answer.

        Args:
            recording: its place among the client's.
            spoken_from_s: when its first sample is spoken, on the event loop's clock; None: it is sent at once.
        """
        ...


def tls_context(where: Endpoint, access: Access) -> ssl.SSLContext | None:
    """The TLS context of an endpoint; None where its connections aren't encrypted."""
    if not where.encrypted:
        return None
    context = ssl.create_default_context()
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def fault(error: Exception) -> Answer:
    """An exception of a network library as an answer: what the client itself lacked is "unsent"."""
    if isinstance(error, OSError) and (number := _errno(error)) in _OWN_ERRNOS:
        return Answer("unsent", detail=os.strerror(number))
    return Answer("failed", detail=redacted(f"{type(error).__name__}: {error}").rstrip(": "))


def _errno(error: OSError) -> int:
    """The system's number of an error; 0: it has none.

    Where several addresses of a host were tried, the last one's: asyncio joins their errors into one text.
    """
    # IPv6 comes first. EADDRNOTAVAIL there means a machine without IPv6; at the last address, that ports have run out.
    numbers = re.findall(r"\[Errno (\d+)\]", str(error)) if error.errno is None else [error.errno]
    return int(numbers[-1]) if numbers else 0


Status = Literal["ok", "rejected", "timeout", "failed", "unsent"]
"""``rejected``: the server said that it is overloaded or not ready (429, 503, 1013). ``timeout``: no text in time.
``failed``: any other error, or a lost connection. ``unsent``: the client ran out of sockets, ports or memory."""


class SentRequest(Document):
    """One recording that was to be sent. Times are seconds after the run's start."""

    recording: str
    """The recording's id."""
    audio_s: float
    scheduled_s: float
    """When it was to be sent, or to begin to be spoken."""
    counted_from_s: float
    """When its latency begins: at ``scheduled_s``, or when its last sample was to be spoken."""
    sent_s: float
    """When the client began to send it."""
    settled_s: float
    """When it ended: with its whole text, an error, or the time-out."""
    lag_s: float
    """Seconds by which the client was late in sending what the latency counts from: the recording, or its last block.
    The server has no part in it."""
    status: Status
    detail: str = ""
    """What went wrong, such as ``HTTP 429``."""
    text: str | None = None
    """The whole text; None unless ``ok``."""

    @property
    def latency_s(self) -> float:
        """Seconds from ``counted_from_s`` to the whole text; ``inf`` without one, so that errors are over-latency."""
        return self.settled_s - self.counted_from_s if self.status == "ok" else math.inf


TRANSCRIPTIONS = "/v1/audio/transcriptions"
ProtocolName = Literal["http", "websocket"]
"""``http``: OpenAI's ``POST /v1/audio/transcriptions``; ``websocket``: FunASR's protocol."""


@dataclass(frozen=True)
class Endpoint:
    """The address that recordings are sent to, and its protocol."""

    url: str
    protocol: ProtocolName

    @property
    def encrypted(self) -> bool:
        """Whether connections use TLS."""
        return urlsplit(self.url).scheme in ("https", "wss")

    @property
    def local(self) -> bool:
        """Whether it is an address of this machine's own, so that client and server share its cores."""
        host = urlsplit(self.url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


def endpoint(url: str, *, paced: bool) -> Endpoint:
    """The address of a server as people write it.

    ``http(s)://host:port`` alone means OpenAI's path there, and for streams the WebSocket at ``/`` of the same port;
    ``ws(s)://`` is FunASR's protocol, paced or not.

    Args:
        url: http, https, ws or wss.
        paced: whether recordings are sent while they are spoken.

    Raises:
        DocumentError: another scheme, no host, a wrong port, or a password in it.
    """
    try:
        parts = urlsplit(url)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_good = urlsplit(""), False
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname or not port_is_good:
        raise DocumentError(
            'URL must be the address of a server such as "http://localhost:8000" or "ws://localhost:10095", but got '
            f"{redacted(url)!r}."
        )
    if "@" in parts.netloc:
        raise DocumentError("URL must not hold a user or a password. Give a key with --api-key-file.")
    if parts.scheme in ("ws", "wss"):
        return Endpoint(urlunsplit((parts.scheme, parts.netloc, parts.path or "/", parts.query, "")), "websocket")
    if paced:
        scheme = "wss" if parts.scheme == "https" else "ws"
        return Endpoint(urlunsplit((scheme, parts.netloc, "/", "", "")), "websocket")
    bare = parts.path.rstrip("/")
    path = TRANSCRIPTIONS if bare in ("", "/v1") else parts.path
    return Endpoint(urlunsplit((parts.scheme, parts.netloc, path, parts.query, "")), "http")
