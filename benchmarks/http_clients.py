"""What a request costs the client with few and with hundreds under way: httpx's pool of connections beside aiohttp's.

    python benchmarks/http_clients.py

A local server, a process of its own, answers each request after a fixed delay. N tasks ask it again and again, over
connections that are open already. The delay is shorter than the client needs for N requests, so that it is never idle:
N requests are under way all the time, and the time of a request is the client's. Both take turns; the median of the
repeats and their range. Writes ``docs/benchmarks/http_clients.json``. Run it alone on the machine; needs the extra
[dev].
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import httpx

from benchmarks.conditions import machine_conditions

OUT = Path(__file__).parent.parent / "docs" / "benchmarks" / "http_clients.json"
DELAYS_S = {8: 0.001, 512: 0.064}
"""Of the server's answers, by requests under way."""
REQUESTS = 2048
"""In each repeat, without those that open the connections."""
BODY = bytes(32_000)
"""One second of audio."""
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"text": "x"}'

Post = Callable[[], Awaitable[bytes]]


class Server(asyncio.Protocol):
    """Answers to HTTP at the least cost, so that the client is what limits."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s, self._missing, self._head = delay_s, 0, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._head += data
            if b"\r\n\r\n" not in self._head:
                return
            _, data = self._head.split(b"\r\n\r\n", 1)
            self._head, self._missing = b"", len(BODY)
        self._missing -= len(data)
        if not self._missing:
            asyncio.get_running_loop().call_later(self._delay_s, self._transport.write, ANSWER)


def serve(delay_s: float, connection: Connection) -> None:
    """Until the process is terminated; sends the port first."""

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: Server(delay_s), "127.0.0.1", 0)
        connection.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@asynccontextmanager
async def httpx_client(url: str) -> AsyncIterator[Post]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits, trust_env=False) as client:

        async def post() -> bytes:
            return (await client.post(url, content=BODY)).content

        yield post


@asynccontextmanager
async def aiohttp_client(url: str) -> AsyncIterator[Post]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:

        async def post() -> bytes:
            async with session.post(url, data=io.BytesIO(BODY)) as response:
                return await response.read()

        yield post


CLIENTS = {"httpx": httpx_client, "aiohttp": aiohttp_client}


async def measured(client: str, url: str, under_way: int) -> tuple[float, float]:
    """Milliseconds a request: CPU of this process, and wall."""
    async with CLIENTS[client](url) as post:
        await asyncio.gather(*(post() for _ in range(under_way)))

        async def ask() -> None:
            for _ in range(REQUESTS // under_way):
                assert await post() == b'{"text": "x"}'

        cpu_s, wall_s = time.process_time(), time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(under_way)))
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    return 1000 * cpu_s / REQUESTS, 1000 * wall_s / REQUESTS


def figures(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def compared(under_way: int, repeats: int) -> dict[str, Any]:
    """All clients with so many requests under way; who goes first is drawn."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(DELAYS_S[under_way], theirs), daemon=True)
    server.start()
    try:
        url, order = f"http://127.0.0.1:{ours.recv()}/", random.Random(0)
        times: dict[str, list[tuple[float, float]]] = {client: [] for client in CLIENTS}
        for _ in range(repeats):
            for client in order.sample(list(CLIENTS), len(CLIENTS)):
                times[client].append(asyncio.run(measured(client, url, under_way)))
    finally:
        server.terminate()
        server.join()
    return {
        client: {"cpu_ms": figures([cpu for cpu, _ in pairs]), "wall_ms": figures([wall for _, wall in pairs])}
        for client, pairs in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    before = os.getloadavg()[0]
    requests = {f"{under_way}": compared(under_way, options.repeats) for under_way in DELAYS_S}
    document = {
        **machine_conditions(("aiohttp", "httpx")),
        "load_average": {"before": before, "after": os.getloadavg()[0]},
        "repeats": options.repeats,
        "body_bytes": len(BODY),
        "milliseconds_a_request_by_requests_under_way": requests,
    }
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(document, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
