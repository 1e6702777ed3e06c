"""What the serving benchmarks share: a real server of a deploy.yaml, and clients that ask it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from autotune.deploy_yaml import DeploymentFile
from benchmarks.conditions import conditions_of

__all__ = ["PATH", "Answer", "Server", "ask", "conditions", "connecting", "crowd", "form", "resident_bytes", "serving"]

PATH = "/v1/audio/transcriptions"
PACKAGES = ("starlette", "uvicorn", "aiohttp")


@dataclass(frozen=True)
class Server:
    """A server that is ready."""

    url: str
    process: subprocess.Popen[str]

    def worker_pids(self) -> list[int]:
        """Children of the server."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]

    def memory_bytes(self) -> int:
        """Resident, of the server and its children."""
        return self.front_bytes() + sum(resident_bytes(pid) for pid in self.worker_pids())

    def front_bytes(self) -> int:
        """Resident, of the process that speaks with clients."""
        return resident_bytes(self.process.pid)

    def metric(self, name: str) -> float:
        """Sum over all labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def resident_bytes(pid: int) -> int:
    """0 if it is gone."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return 0


@contextlib.contextmanager
def serving(file: Path, *options: str) -> Iterator[Server]:
    """``autotune serve`` on a free port."""
    command = [sys.executable, "-m", "autotune", "serve", str(file), "--port", "0", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the server must start, but it ended: see above")
        yield Server(json.loads(line)["url"], process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    path: Path
    seconds: float
    status: int
    """0: no answer."""
    text: str


def form(content: bytes, name: str = "x.wav") -> aiohttp.FormData:
    """The form of a request."""
    fields = aiohttp.FormData({"model": "any"})
    fields.add_field("file", io.BytesIO(content), filename=name)
    return fields


async def ask(session: aiohttp.ClientSession, path: Path, content: bytes) -> Answer:
    """Send a recording, and wait for its text."""
    started = time.perf_counter()
    status, text = 0, ""
    try:
        async with session.post(PATH, data=form(content, path.name)) as answer:
            status = answer.status
            text = (await answer.json()).get("text", "") if status == 200 else ""
    except (aiohttp.ClientError, OSError) as error:
        status, text = 0, type(error).__name__
    return Answer(path, time.perf_counter() - started, status, text)


def connecting(url: str) -> aiohttp.ClientSession:
    """For any number of requests at once. Idle connections are given up before the server does, after 5 s."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0)
    return aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(300))


async def crowd(url: str, files: Sequence[Path], clients: int, seconds: float, seed: int = 0) -> list[Answer]:
    """Clients that each ask again as soon as they are answered (a closed loop)."""
    contents = {path: path.read_bytes() for path in files}
    until = time.perf_counter() + seconds
    answers: list[Answer] = []

    async def one(number: int) -> None:
        generator = random.Random(f"{seed}/{number}")
        async with connecting(url) as session:
            while time.perf_counter() < until:
                path = generator.choice(list(contents))
                answers.append(await ask(session, path, contents[path]))

    await asyncio.gather(*(one(number) for number in range(clients)))
    return answers


def conditions(document: DeploymentFile) -> dict[str, Any]:
    """What a figure was measured with."""
    return conditions_of(document.model.id, document.deployment, PACKAGES)
