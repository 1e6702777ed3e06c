"""Connections before anything is known of who asks: how many there are, how long they may dawdle, what they hold."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from autotune.recognizer.admission import Rejected
from autotune.serve.turns import REQUEST_S, Turns

__all__ = [
    "FREE_BYTES",
    "HEAD_BYTES",
    "MESSAGES_BYTES",
    "MOST",
    "Connections",
    "HeldBytes",
    "HttpConnection",
    "WebSocketConnection",
]

HEAD_S = 10.0
"""Seconds from a connection, or from a request's first byte, to its whole head."""
HEAD_BYTES = 16 << 10
"""Most bytes of a request's head."""
UNREAD_S = 30.0
"""Seconds for which a client may read nothing of what it is sent."""
MOST = 1024
"""Connections at once; half of them for one address."""
_SPARE_FILES = 64
"""Descriptors for workers, uploads and logs, which connections must leave."""
LOOK_S = 1.0
MESSAGES_BYTES = 32 << 20
"""Memory for WebSocket messages that are received and not handled yet, of all connections together."""
FREE_BYTES = 256 << 10
"""Of each connection, so much isn't counted: small messages pass, whoever sends large ones."""
_SLICE_BYTES = 16 << 10
"""Of what came in at once on a WebSocket, so much is looked at before it is others' turn: thousands of frames."""


class HeldBytes:
    """Bytes that clients' messages take in memory. For one event loop."""

    def __init__(self, most: int) -> None:
        """Nothing is held yet; ``most`` bytes may be, beside ``FREE_BYTES`` for each holder."""
        self._most = most
        self._held: dict[object, int] = {}
        self._sum = 0

    def hold(self, holder: object, count: int) -> None:
        """From now on, a holder holds so many bytes; 0: it is forgotten. Raises Rejected where there is no room."""
        counted = max(0, count - FREE_BYTES)
        total = self._sum + counted - self._held.get(holder, 0)
        if counted and total > self._most:
            raise Rejected(
                "no_memory", "The server holds too many large messages. Send smaller ones.", status=429, retry_after_s=1
            )
        self._sum = total
        self._held.pop(holder, None)
        if counted:
            self._held[holder] = counted


@dataclass
class _Connection:
    transport: asyncio.Transport
    address: str
    idle: bool = True
    """Whether it has no request that is being answered."""
    head_since: float | None = field(default_factory=time.monotonic)
    """Since when a head is due; None: nothing of one has come."""
    unread_since: float | None = None
    closing_since: float | None = None


class Connections:
    """All of a server's connections. For one event loop.

    A connection beyond the limits takes the place of the one that has been idle for longest; without such a one, it is
    closed itself.
    """

    def __init__(self, files: int, most: int = MOST) -> None:
        """Expect none yet; ``files`` is how many descriptors this process may have."""
        self.most = max(2, min(most, (files - _SPARE_FILES) // 2))
        self.messages = HeldBytes(MESSAGES_BYTES)
        self.turns = Turns()
        self._all: dict[asyncio.Transport, _Connection] = {}
        """The one that has been idle for longest first."""
        self._of: Counter[str] = Counter()

    def enter(self, transport: asyncio.Transport) -> None:
        """A connection has begun."""
        address = _network(transport.get_extra_info("peername"))
        crowded = self._of[address] >= self.most // 2
        self._all[transport] = _Connection(transport, address)
        self._of[address] += 1
        self.turns.enter(address, transport)
        if crowded or len(self._all) > self.most:
            idle = (one for one in self._all.values() if one.idle and (not crowded or one.address == address))
            victim = next(idle).transport
            self.leave(victim)
            victim.abort()

    def leave(self, transport: asyncio.Transport) -> None:
        """A connection has ended; idempotent."""
        if (connection := self._all.pop(transport, None)) is not None:
            self._of[connection.address] -= 1
            self.turns.leave(connection.address, transport)
            self._of += Counter()  # forgets addresses without connections
            self.messages.hold(transport, 0)

    def note(self, transport: asyncio.Transport, *, idle: bool, head_due: bool) -> None:
        """What a connection does now: whether nothing is being answered, and whether a request's head has begun."""
        if (connection := self._all.get(transport)) is None:
            return
        if idle and not connection.idle:
            self._all[transport] = self._all.pop(transport)  # idle for the shortest time
        connection.idle = idle
        if not head_due:
            connection.head_since = None
        elif connection.head_since is None:
            connection.head_since = time.monotonic()

    def unread(self, transport: asyncio.Transport, *, waits: bool) -> None:
        """Whether what is sent to a client waits for it to read."""
        if (connection := self._all.get(transport)) is not None:
            connection.unread_since = time.monotonic() if waits else None

    def took(self, transport: asyncio.Transport, seconds: float) -> float:
        """Count what a connection took of the event loop; seconds for which its address must wait now."""
        if (connection := self._all.get(transport)) is None:
            return 0.0
        self.turns.took(connection.address, seconds)
        return self.turns.left_s(connection.address)

    async def watch(self) -> None:
        """End connections that dawdle, and have those wait that take too much, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.turns.watch())
            tasks.create_task(self._end_late_ones())

    async def _end_late_ones(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            for connection in list(self._all.values()):
                self._look(connection, now)

    def _look(self, connection: _Connection, now: float) -> None:
        transport = connection.transport
        if transport.is_closing() and connection.closing_since is None:
            connection.closing_since = now
        late = [
            since is not None and now - since > most_s
            for since, most_s in (
                (connection.head_since, HEAD_S),
                (connection.unread_since, UNREAD_S),
                (connection.closing_since, UNREAD_S),
            )
        ]
        if any(late):
            transport.abort()


def _network(peer: Any) -> str:
    """The address of a client, of IPv6 its network: a host has 2^64 addresses of it."""
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except (TypeError, ValueError, IndexError):
        return "unknown"
    return f"{address}" if address.version == 4 else f"{ipaddress.ip_network((address, 64), strict=False)}"


class HttpConnection(H11Protocol):
    """uvicorn's HTTP connection, which tells ``Connections`` what it does."""

    def __init__(self, *args: Any, connections: Connections, **named: Any) -> None:
        super().__init__(*args, **named)
        self._connections = connections
        self._upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count a new connection, or close it where there are too many."""
        super().connection_made(transport)
        self._connections.enter(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place back, and the head of its last request: see ``WebSocketConnection``."""
        self._connections.leave(self.transport)
        super().connection_lost(exc)
        if self.cycle is None or self.cycle.response_complete:
            self.cycle = self.scope = self.headers = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Take bytes, and note whether a request's head has begun or is whole."""
        began = time.monotonic()
        super().data_received(data)
        self._connections.took(self.transport, time.monotonic() - began)
        self._note()

    def on_response_complete(self) -> None:
        """Note that the connection is idle until its next request, which may have come ahead of its turn."""
        wait_s = self._connections.took(self.transport, REQUEST_S)
        if wait_s and self.conn.trailing_data[0]:
            self.loop.call_later(wait_s, self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        super().on_response_complete()
        self._note()

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hand the connection on: from here on it is no HTTP connection that could be idle."""
        self._upgraded = True
        self._connections.note(self.transport, idle=False, head_due=False)
        super().handle_websocket_upgrade(event)

    def pause_writing(self) -> None:
        """Note that the client reads nothing of what it is sent."""
        super().pause_writing()
        self._connections.unread(self.transport, waits=True)

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._connections.unread(self.transport, waits=False)

    def _note(self) -> None:
        if not self._upgraded:
            idle = self.cycle is None or self.cycle.response_complete
            begun = self.cycle is None or bool(self.conn.trailing_data[0])
            self._connections.note(self.transport, idle=idle, head_due=idle and begun)


class WebSocketConnection(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection, whose unfinished messages count as held memory."""

    def __init__(self, *args: Any, connections: Connections, **named: Any) -> None:
        super().__init__(*args, **named)
        self._connections = connections
        self._waiting = bytearray()
        """What has come in and was not looked at yet."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Give its place back, and what it holds: it refers to itself, so Python would free it only some time later."""
        self._waiting.clear()
        self._connections.leave(self.transport)
        super().connection_lost(exc)
        self.conn.reader.buffer.clear()
        self.frames = []

    def eof_received(self) -> None:
        """Look at all that came before the end."""
        data = bytes(self._waiting)
        self._waiting.clear()
        self._take(data)
        super().eof_received()

    def data_received(self, data: bytes) -> None:
        """Take bytes, a slice at a time, between which others have their turn."""
        waits = bool(self._waiting)
        self._waiting += data
        if waits:
            self.transport.pause_reading()  # uvicorn may let it go on meanwhile
        else:
            self._next_slice()

    def _next_slice(self) -> None:
        # Half of it at least: more may come in meanwhile, and what waits must not grow.
        data = bytes(self._waiting[: max(_SLICE_BYTES, len(self._waiting) // 2)])
        del self._waiting[: len(data)]
        began = time.monotonic()
        self._take(data)
        wait_s = self._connections.took(self.transport, time.monotonic() - began)
        if self._waiting:
            self.transport.pause_reading()
            self.loop.call_later(wait_s, self._next_slice)
        elif not self.read_paused and not wait_s:
            self.transport.resume_reading()

    def _take(self, data: bytes) -> None:
        """Take bytes; those of an unfinished message are held memory, and where none is left the connection ends."""
        if not data or self.transport.is_closing():
            return
        super().data_received(data)
        unfinished = len(self._waiting) + len(self.conn.reader.buffer) + sum(len(frame) for frame in self.frames)
        try:
            self._connections.messages.hold(self.transport, unfinished)
        except Rejected as rejected:
            self._connections.messages.hold(self.transport, 0)
            self.conn.fail(1013, f"{rejected}")
            self.handle_parser_exception()

    def pause_writing(self) -> None:
        """Note that the client reads nothing of what it is sent."""
        super().pause_writing()
        self._connections.unread(self.transport, waits=True)

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        super().resume_writing()
        self._connections.unread(self.transport, waits=False)
