"""Running the server: uvicorn, TLS, and a stop that finishes what was accepted."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from autotune.deploy_yaml import DeploymentFile
from autotune.errors import DocumentError
from autotune.serve.app import build_app
from autotune.serve.connections import HEAD_BYTES, Connections, HttpConnection, WebSocketConnection
from autotune.serve.memory import memory_given_back
from autotune.serve.options import ServeOptions
from autotune.serve.service import Service
from autotune.serve.worker_process import ServedFiles

__all__ = ["run_server"]

_LOOK_S = 0.05
_BACKLOG, _AT_ONCE = 512, 32
"""Connections that the kernel keeps, and that are taken from it before anything looks at how many there are."""
_LARGEST_MESSAGE_BYTES = 24 << 20
"""Of a WebSocket: thirteen minutes of 16-bit audio at 16 kHz. It is received as a whole before anything looks at it."""
_KEEP_ALIVE_S = 75
"""Longer than what proxies and pools of connections assume, which is mostly 60 s."""
END_S = 4.0
"""Seconds after the grace period within which this process ends, whatever hangs."""
_QUIET_S, _ABOUT = 10.0, 60
"""An error is logged once in so many seconds; errors that begin with the same characters are the same."""
_LAST_ANSWERS_S = 0.3
"""Seconds for the answers to what was not finished in time."""


def run_server(
    document: DeploymentFile,
    options: ServeOptions,
    *,
    files: ServedFiles,
    on_ready: Callable[[Service, str], None] = lambda _, __: None,
    on_event: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; a second one stops at once.

    Args:
        document: what is served.
        options: address, limits and keys.
        files: what the recognizer is loaded from.
        on_ready: called with the service and its URL once it is warmed up; must never raise nor wait.
        on_event: called with a text when a worker is lost, and when the server stops; must never raise nor wait.

    Raises:
        AutotuneError: the recognizer can't be loaded, or no worker has come up for too long.
        DocumentError: the address, a TLS file or the folder for temporary files can't be used.
    """
    _log_by(on_event)
    # Here as well as in the worker: what a backlog of uploads took stays with this process otherwise.
    with memory_given_back(large_at_once=True):
        asyncio.run(_serve(document, options, files, on_ready, on_event))


async def _serve(
    document: DeploymentFile,
    options: ServeOptions,
    files: ServedFiles,
    on_ready: Callable[[Service, str], None],
    on_event: Callable[[str], None],
) -> None:
    listening = _listen(options)
    connections = Connections(_most_files())
    try:
        service = Service(document, options, files=files, messages=connections.messages, on_event=on_event)
    except OSError as error:
        raise DocumentError(f"TMPDIR must be a folder that uploads can be written to, but: {error}.") from error
    server = _Server(_config(service, options, connections), service, on_event)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    # What must not end before the server does: it raises why the server can't go on.
    lasting = [
        asyncio.create_task(_load(service, lambda: on_ready(service, _url(options, listening)))),
        asyncio.create_task(connections.watch()),
    ]
    try:
        await asyncio.wait({serving, *lasting}, return_when=asyncio.FIRST_COMPLETED)
        for task in lasting:
            if task.done():
                task.result()
    finally:
        server.should_exit = server.force_exit = True
        for task in lasting:
            task.cancel()
        await asyncio.gather(serving, *lasting, return_exceptions=True)
        await service.end()


async def _load(service: Service, on_ready: Callable[[], None]) -> None:
    """Load the recognizer, and watch that there is one. Raises what keeps it from coming up."""
    await service.begin()
    on_ready()
    await service.gone()


def _log_by(on_event: Callable[[str], None]) -> None:
    """Have errors that uvicorn and asyncio log told as all else is: a log that nobody reads must stop nothing."""

    told_at: dict[str, float] = {}

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
                return  # cut off by a stop, which is told
            # asyncio says the same a thousand times where there is no descriptor for a connection.
            about = record.getMessage()[:_ABOUT]
            if record.created - told_at.get(about, -math.inf) < _QUIET_S:
                return
            told_at[about] = record.created
            on_event(self.format(record).strip())

    for name in ("uvicorn.error", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [Told(logging.ERROR)], False
    # It warns of every malformed body; the client gets an answer, and the metrics count it.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)


def _most_files() -> int:
    """How many descriptors this process may have, which is then as many as it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


def _listen(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once; otherwise they wait 40 ms for company.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((options.host, options.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise DocumentError(
            f"--host and --port must be an address of this machine that is free, but {options.host}:{options.port} "
            f"isn't: {error.strerror}."
        ) from error
    return listening


def _config(service: Service, options: ServeOptions, connections: Connections) -> uvicorn.Config:
    http: Any = functools.partial(HttpConnection, connections=connections)
    ws: Any = functools.partial(WebSocketConnection, connections=connections)
    config = uvicorn.Config(
        build_app(service),
        host=options.host,
        port=options.port,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        # httptools drops the body of a request that asks for HTTP/2 ("Upgrade: h2c"), as Java's and curl's do.
        http=http,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        ws=ws,
        ws_max_size=_LARGEST_MESSAGE_BYTES,
        # PCM hardly shrinks, and each connection would hold a window of what it has seen.
        ws_per_message_deflate=False,
        # A client that only sends, and reads at the end, answers no ping: silence is what ends a stream (idle_s).
        ws_ping_interval=None,
        timeout_graceful_shutdown=max(1, int(options.grace_s)),
        backlog=_AT_ONCE,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:
        raise DocumentError(
            f"--tls-cert and --tls-key must be a PEM certificate and its key, but {options.tls_cert}: {error}."
        ) from error
    return config


def _url(options: ServeOptions, listening: socket.socket) -> str:
    scheme = "https" if options.tls_cert else "http"
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"{scheme}://{host}:{listening.getsockname()[1]}"


class _Server(uvicorn.Server):
    """uvicorn's server, which finishes what was accepted before it stops."""

    def __init__(self, config: uvicorn.Config, service: Service, on_event: Callable[[str], None]) -> None:
        super().__init__(config)
        self._service, self._on_event = service, on_event
        self._stopping: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, with room for more connections than are taken at once."""
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(_BACKLOG)  # asyncio takes one number for both

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop at the first SIGTERM or SIGINT, and stop at once at the second."""
        del frame
        # Not uvicorn's own way, which closes WebSockets at once: streams still get the text of what was spoken.
        if self._stopping is not None:
            self._on_event("stopping at once")
            self.should_exit = self.force_exit = True
            return
        self._end_after(self._service.options.grace_s + END_S)
        name = signal.Signals(sig).name
        self._stopping = asyncio.get_running_loop().create_task(self._stop(name))

    def _end_after(self, limit_s: float) -> None:
        """End this process if it is still there then; its children end with it."""

        def end() -> None:
            self._on_event(f"still not stopped after {limit_s:g} s: ends at once")
            self._service.folder.remove()
            os._exit(1)

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()

    async def _stop(self, name: str) -> None:
        service, grace_s = self._service, self._service.options.grace_s
        inside = service.admission.inside
        self._on_event(f"{name}: taking nothing new in, finishing {inside} within {grace_s:g} s")
        service.drain()
        until = asyncio.get_running_loop().time() + grace_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while service.admission.inside:
                    await asyncio.sleep(_LOOK_S)
        if service.admission.inside:
            self._on_event(f"{service.admission.inside} were not finished in time")
            service.give_up()
            await asyncio.sleep(_LAST_ANSWERS_S)
            self.force_exit = True
        # One deadline for all: what answers still have to be sent is in the same grace period.
        left_s = until - asyncio.get_running_loop().time()
        self.config.timeout_graceful_shutdown = max(1, int(left_s))
        self.should_exit = True
