"""The contract of clients: one recording in, what the server made of it out."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from autotune.audio.recording import Recording
from autotune.errors import EngineUnavailableError
from autotune.loadgen.endpoint import Endpoint
from autotune.loadgen.requests import Status
from autotune.redaction import redacted

__all__ = ["OVERLOADED", "Access", "Answer", "Client", "fault", "make_client", "tls_context"]

OVERLOADED = frozenset((429, 503))
"""HTTP statuses that reject a request for want of room; WebSockets are closed with 1013."""

_OWN_ERRNOS = frozenset((errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM))


@dataclass(frozen=True)
class Access:
    """How a client introduces itself."""

    api_key: str | None = None
    model: str = "funasr"
    """The ``model`` of an HTTP request."""
    insecure: bool = False
    """Accept any TLS certificate."""

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
    """When the text was whole, on the event loop's clock; None unless ``ok``."""
    lag_s: float = 0.0
    """How much later than due the last block was sent, for want of the client's own speed; 0 unless spoken."""


class Client(Protocol):
    """Sends recordings. Opened as an asynchronous context manager, used in one event loop at a time."""

    async def __aenter__(self) -> Self:
        """Ready to send."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Connections are closed."""
        ...

    async def send(self, recording: int, spoken_from_s: float | None) -> Answer:
        """Send a recording and wait for its text, however long it takes; what the server does wrong is an answer.

        Args:
            recording: its place among the client's.
            spoken_from_s: when its first sample is spoken, on the event loop's clock; None: it is sent at once.
        """
        ...


def make_client(where: Endpoint, recordings: Sequence[Recording], access: Access) -> Client:
    """A client for an address, with the recordings read and encoded before any clock starts.

    Raises:
        EngineUnavailableError: its library is missing.
        AudioError: a recording can't be read.
    """
    try:
        if where.protocol == "http":
            from autotune.loadgen.http_client import HttpClient

            return HttpClient(where, recordings, access)
        from autotune.loadgen.websocket_client import WebSocketClient

        return WebSocketClient(where, recordings, access)
    except ModuleNotFoundError as error:
        raise EngineUnavailableError(
            f"Loading a server needs {error.name}, which is not installed. Install it: "
            'pip install "funasr-autotune[serve]"'
        ) from error


def tls_context(where: Endpoint, access: Access) -> ssl.SSLContext | None:
    """How TLS is checked; None where none is spoken."""
    if not where.encrypted:
        return None
    context = ssl.create_default_context()
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def fault(error: Exception) -> Answer:
    """An exception of a network library as an answer: what the client lacked itself is told apart."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in _OWN_ERRNOS:
            return Answer("unsent", detail=os.strerror(cause.errno))
    return Answer("failed", detail=redacted(f"{type(error).__name__}: {error}").rstrip(": "))


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner)
    below = error.__cause__ or error.__context__
    if below is not None:
        yield from _causes(below)
