"""Which address is loaded, and by which protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from autotune.errors import DocumentError
from autotune.redaction import redacted

__all__ = ["Endpoint", "endpoint"]

TRANSCRIPTIONS = "/v1/audio/transcriptions"


@dataclass(frozen=True)
class Endpoint:
    """Where recordings are sent."""

    url: str
    protocol: Literal["http", "websocket"]
    """``http``: OpenAI's ``POST /v1/audio/transcriptions``; ``websocket``: FunASR's protocol."""

    @property
    def encrypted(self) -> bool:
        """Whether TLS is spoken."""
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
