"""What the serving benchmarks share: a real server of a deploy.yaml, and clients that ask it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from autotune.deploy_yaml import DeploymentFile
from benchmarks.conditions import conditions_of

__all__ = ["PATH", "Answer", "Server", "ask", "conditions", "connecting", "crowd", "serving"]

PATH = "/v1/audio/transcriptions"
PACKAGES = ("starlette", "uvicorn", "httpx")


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
        return self.front_bytes() + sum(_resident_bytes(pid) for pid in self.worker_pids())

    def front_bytes(self) -> int:
        """Resident, of the process that speaks with clients."""
        return _resident_bytes(self.process.pid)

    def metric(self, name: str) -> float:
        """Sum over all labels."""
        lines = httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def _resident_bytes(pid: int) -> int:
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


async def ask(client: httpx.AsyncClient, path: Path, content: bytes) -> Answer:
    """One request."""
    started = time.perf_counter()
    status, text = 0, ""
    try:
        answer = await client.post(PATH, files={"file": (path.name, content)}, data={"model": "any"})
        status = answer.status_code
        text = answer.json().get("text", "") if status == 200 else ""
    except httpx.HTTPError as error:
        text = type(error).__name__
    return Answer(path, time.perf_counter() - started, status, text)


def connecting(url: str) -> httpx.AsyncClient:
    """A client of its own, made quickly: certificates are not read."""
    return httpx.AsyncClient(base_url=url, timeout=300, verify=False, trust_env=False)


async def crowd(url: str, files: Sequence[Path], clients: int, seconds: float, seed: int = 0) -> list[Answer]:
    """Clients that each ask again as soon as they are answered (a closed loop)."""
    contents = {path: path.read_bytes() for path in files}
    until = time.perf_counter() + seconds
    answers: list[Answer] = []

    async def one(number: int) -> None:
        generator = random.Random(f"{seed}/{number}")
        async with connecting(url) as client:
            while time.perf_counter() < until:
                path = generator.choice(list(contents))
                answers.append(await ask(client, path, contents[path]))

    await asyncio.gather(*(one(number) for number in range(clients)))
    return answers


def conditions(document: DeploymentFile) -> dict[str, Any]:
    """What a figure was measured with."""
    return conditions_of(document.model.id, document.deployment, PACKAGES)
