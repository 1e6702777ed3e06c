"""Real servers for tests: the command in a process of its own, on a free port."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from autotune.arrays import Float32
from autotune.audio.embedded import embedded_clips
from autotune.deploy_yaml import write_deployment_file
from autotune.deployment import Chunking, Deployment
from autotune.model_directory import ModelDirectory
from autotune.models import ModelInfo, punctuation_files, resolve_model
from autotune.recognizer import Recognizer
from tests.deployment_example import example_file
from tests.fake_engine import fake_deployment

__all__ = ["CLIENT", "VAD", "Served", "expected_text", "post", "serve", "spoken", "until", "write_wav"]

VAD = Chunking(method="vad", vad_model="silero", max_segment_s=15, merge_s=0, min_silence_s=0.3, pad_s=0.1)
START_S = 120
CLIENT = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))
"""For every plain request: ``httpx.get`` reads all certificates anew for each, which takes 50 ms of a CPU. It keeps no
connection open: a server that stops would wait for it."""


@dataclass
class Served:
    """A server that is ready."""

    url: str
    process: subprocess.Popen[str]
    log: Path
    deployment: Deployment

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/"

    def metric(self, name: str) -> float:
        """Sum over all labels."""
        lines = CLIENT.get(f"{self.url}/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def worker_pids(self) -> list[int]:
        """Processes that the server started, by the kernel's own list."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


@contextlib.contextmanager
def serve(
    folder: Path,
    *options: str,
    environment: dict[str, str] | None = None,
    prefix: tuple[str, ...] = (),
    model: ModelInfo | None = None,
    **changes: Any,
) -> Iterator[Served]:
    """A server of a fake deployment of a model (None: the embedded one), with fields replaced by ``changes``."""
    deployment = fake_deployment(**{"chunking": VAD.model_dump(), **changes})
    file, log = folder / "deploy.yaml", folder / "server.log"
    write_deployment_file(file, example_file(model=model or resolve_model(None), deployment=deployment))
    command = [*prefix, sys.executable, "-m", "autotune", "serve", str(file), "--port", "0", "--json", *options]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, **(environment or {})}
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, log.read_text()
        yield Served(json.loads(line)["url"], process, log, deployment)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_S)
        finally:
            process.kill()
            process.stdout.close()
        assert "Traceback" not in log.read_text(), log.read_text()


def post(served: Served, path: Path, **fields: str) -> httpx.Response:
    """A file to OpenAI's endpoint."""
    with path.open("rb") as file:
        return CLIENT.post(
            f"{served.url}/v1/audio/transcriptions", files={"file": file}, data={"model": "any", **fields}, timeout=120
        )


def spoken(seed: int, clips: int = 4) -> Float32:
    """Embedded clips with pauses between them, other ones for each seed."""
    generator = np.random.default_rng(seed)
    every = embedded_clips()
    parts: list[Float32] = []
    for index in generator.choice(len(every), clips, replace=False):
        pause = generator.normal(0, 0.001, int(generator.uniform(0.6, 1.2) * 16000)).astype(np.float32)
        parts += [pause, every[index].waveform]
    return np.concatenate([*parts, np.zeros(8000, np.float32)])


def write_wav(path: Path, samples: Float32) -> Path:
    soundfile.write(path, samples, 16000, subtype="PCM_16")
    return path


def expected_text(deployment: Deployment, path: Path) -> str:
    """What the recognizer gives offline; the fake engine's text does not depend on its speed."""
    if deployment.engine == "fake":
        options = {**deployment.session_options, "speed": "instant"}
        deployment = Deployment.model_validate(deployment.model_dump() | {"session_options": options})
    model, stage = ModelDirectory.open(Path(resolve_model(None).path)), deployment.punctuation
    with Recognizer.load(deployment, model, None, punctuation_files(stage) if stage else None) as recognizer:
        return recognizer.transcribe([path])[0].text


def until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.05)
