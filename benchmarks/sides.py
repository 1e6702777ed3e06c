"""Sides of a benchmark: children that each hold one loaded model, and the environments that peers live in."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autotune.files import cache_dir
from autotune.isolation.start import THREAD_VARIABLES

__all__ = [
    "FUNASR_ONNX",
    "OURS",
    "SHERPA_ONNX",
    "Side",
    "SideError",
    "SideSpec",
    "funasr_onnx_python",
    "sherpa_onnx_python",
    "started",
]


FUNASR_ONNX = "funasr-onnx==0.4.3"
SHERPA_ONNX = "sherpa-onnx==2.0.1"
HERE = Path(__file__).parent
OURS = Path(sys.executable)
TIMEOUT_S = 1200.0
"""For loading with its warm-up, and for one answer."""


class SideError(RuntimeError):
    """A side ended, or gave no answer in time; says what it wrote last."""


@dataclass(frozen=True)
class SideSpec:
    """What a side is started from."""

    name: str
    python: Path
    setup: dict[str, Any]
    """See ``peer_side.py``."""
    threads: int | None = None
    """Of native libraries, as trials set them; None leaves the environment as its users would have it."""


class Side:
    """A child that holds a loaded model; ``wait_until_ready`` comes before the first ``run``."""

    def __init__(self, spec: SideSpec) -> None:
        self.name = spec.name
        environment = dict(os.environ)
        if spec.threads is not None:
            environment.update(dict.fromkeys(THREAD_VARIABLES, str(spec.threads)))
        if spec.python == OURS:
            given = environment.get("PYTHONPATH", "")
            environment["PYTHONPATH"] = os.pathsep.join(part for part in (str(HERE.parent), given) if part)
        else:
            environment.pop("PYTHONPATH", None)
        read_fd, write_fd = os.pipe()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the child
        self.process = subprocess.Popen(
            [str(spec.python), str(HERE / "peer_side.py"), str(write_fd)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._stderr,
            pass_fds=(write_fd,),
            env=environment,
            text=True,
        )
        os.close(write_fd)
        self._reply = os.fdopen(read_fd)
        self._send(spec.setup)

    def wait_until_ready(self) -> dict[str, Any]:
        """Loaded and warmed up; its ``memory_bytes`` so far."""
        return self._receive()

    def run(self, segments: Sequence[int]) -> dict[str, Any]:
        """What it makes of these segments, and its peak ``memory_bytes``."""
        self._send({"segments": list(segments)})
        return self._receive()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reply.close()
        self._stderr.close()

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def _receive(self) -> dict[str, Any]:
        # A reply is one line and the only one on its way, so nothing is left in the reader's buffer.
        if not select.select([self._reply], [], [], TIMEOUT_S)[0]:
            raise SideError(f"{self.name}: no answer within {TIMEOUT_S:g} s")
        line = self._reply.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> SideError:
        status = self.process.wait()
        self._stderr.seek(0)
        said = [line for line in self._stderr.read().decode(errors="replace").splitlines() if line.strip()]
        return SideError(f"{self.name} ended with status {status}: {said[-1][:300] if said else 'it said nothing'}")


def started(spec: SideSpec) -> Side:
    """A side that is loaded and warmed up. Raises SideError."""
    side = Side(spec)
    try:
        side.wait_until_ready()
    except SideError:
        side.close()
        raise
    return side


def peer_python(peer: str, *beside: str) -> Path:
    """The Python of a peer's own environment, which is made on first use with ``beside`` installed too."""
    folder = cache_dir() / "peers" / peer.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", peer, *beside], check=True)
        (folder / ".complete").touch()
    return python


def funasr_onnx_python() -> Path:
    """funasr_onnx with the same ONNX Runtime version as ours."""
    return peer_python(FUNASR_ONNX, f"onnxruntime=={version('onnxruntime-gpu')}")


def sherpa_onnx_python() -> Path:
    """sherpa-onnx, which brings an ONNX Runtime of its own."""
    return peer_python(SHERPA_ONNX, f"numpy=={version('numpy')}")
