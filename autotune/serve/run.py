"""Running the server: uvicorn, TLS, and a stop that finishes what was accepted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from autotune.deploy_yaml import DeploymentFile
from autotune.errors import DocumentError
from autotune.serve.app import build_app
from autotune.serve.memory import memory_given_back
from autotune.serve.options import ServeOptions
from autotune.serve.service import Service

__all__ = ["run_server"]

_LOOK_S = 0.05
_LARGEST_MESSAGE_BYTES = 64 << 20
"""Of a WebSocket: half an hour of 16-bit audio at 16 kHz. It is received as a whole before anything looks at it."""
_KEEP_ALIVE_S = 75
"""Longer than what proxies and pools of connections assume, which is mostly 60 s."""


def run_server(
    document: DeploymentFile,
    options: ServeOptions,
    *,
    model_path: Path,
    artifact_path: Path | None,
    hot_words_artifact: Path | None = None,
    on_ready: Callable[[Service, str], None] = lambda _, __: None,
    on_event: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; a second one stops at once.

    Args:
        document: what is served.
        options: address, limits and keys.
        model_path: FunASR's model directory.
        artifact_path: what the engine loads; None where it is the model directory.
        hot_words_artifact: the same for batches with hot words, if the options have any.
        on_ready: called with the service and its URL once it is warmed up.
        on_event: called with a sentence when a worker is lost, and when the server stops.

    Raises:
        AutotuneError: the recognizer can't be loaded.
        DocumentError: the address or a TLS file can't be used.
    """
    # Here as well as in the worker: what a backlog of uploads took stays with this process otherwise.
    with memory_given_back():
        service = partial(
            Service,
            document,
            options,
            model_path=model_path,
            artifact_path=artifact_path,
            hot_words_artifact=hot_words_artifact,
            on_event=on_event,
        )
        asyncio.run(_serve(service, options, on_ready, on_event))


async def _serve(
    make_service: Callable[[], Service],
    options: ServeOptions,
    on_ready: Callable[[Service, str], None],
    on_event: Callable[[str], None],
) -> None:
    listening = _listen(options)
    service = make_service()
    server = _Server(_config(service, options), service, on_event)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    loading = asyncio.create_task(service.begin())
    try:
        await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done() and not loading.cancelled() and (error := loading.exception()) is not None:
            raise error
        if loading.done():
            on_ready(service, _url(options, listening))
        await serving
    finally:
        server.should_exit = server.force_exit = True
        loading.cancel()
        await asyncio.gather(serving, loading, return_exceptions=True)
        await service.end()


def _listen(options: ServeOptions) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once; otherwise they wait 40 ms for company.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((options.host, options.port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise DocumentError(
            f"--host and --port must be an address of this machine that is free, but {options.host}:{options.port} "
            f"isn't: {error.strerror}."
        ) from error
    return listening


def _config(service: Service, options: ServeOptions) -> uvicorn.Config:
    # It warns of every malformed body; the client gets an answer, and the metrics count it.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        build_app(service),
        host=options.host,
        port=options.port,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        # httptools drops the body of a request that asks for HTTP/2 ("Upgrade: h2c"), as Java's and curl's do.
        http="h11",
        timeout_keep_alive=_KEEP_ALIVE_S,
        ws_max_size=_LARGEST_MESSAGE_BYTES,
        # A client that only sends, and reads at the end, answers no ping: silence is what ends a stream (idle_s).
        ws_ping_interval=None,
        timeout_graceful_shutdown=max(1, int(options.grace_s)),
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

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop at the first SIGTERM or SIGINT, and stop at once at the second."""
        del frame
        # Not uvicorn's own way, which closes WebSockets at once: streams still get the text of what was spoken.
        if self._stopping is not None:
            self._on_event("stopping at once")
            self.should_exit = self.force_exit = True
            return
        name = signal.Signals(sig).name
        self._stopping = asyncio.get_running_loop().create_task(self._stop(name))

    async def _stop(self, name: str) -> None:
        service, grace_s = self._service, self._service.options.grace_s
        inside = service.admission.inside
        self._on_event(f"{name}: taking nothing new in, finishing {inside} within {grace_s:g} s")
        service.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while service.admission.inside:
                    await asyncio.sleep(_LOOK_S)
        if service.admission.inside:
            self._on_event(f"{service.admission.inside} were not finished in time")
            self.force_exit = True
        self.should_exit = True
