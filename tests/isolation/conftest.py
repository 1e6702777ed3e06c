"""Shared by the isolation tests: running a fault, and looking whether a process lives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.isolation import run_task

RunFault = Callable[..., dict[str, Any]]

SELFTEST = "tests.isolation.selftest:run"


@pytest.fixture(params=["spawned", "forked"])
def imports(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What is imported before a child starts: both ways of starting it keep the same promises."""
    return () if request.param == "spawned" else ("tests.isolation.selftest",)


@pytest.fixture
def run_fault(imports: tuple[str, ...]) -> RunFault:
    def run(fault: str, *, timeout_s: float = 30.0, **parameters: Any) -> dict[str, Any]:
        options = {name: parameters.pop(name, None) for name in ("on_event", "cpus", "threads", "watch")}
        payload = {"fault": fault, **parameters}
        return run_task(SELFTEST, payload, timeout_s=timeout_s, imports=imports, **options)

    return run


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    def alive(pid: int) -> bool:
        """Whether the process still runs; a zombie that nobody reaped does not."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return stat.rpartition(")")[2].split()[0] not in "ZX"

    return alive


@pytest.fixture
def dies(is_alive: Callable[[int], bool]) -> Callable[[int], bool]:
    def gone(pid: int) -> bool:
        """Whether the process ends; signals take a moment to arrive."""
        for _ in range(500):
            if not is_alive(pid):
                return True
            time.sleep(0.02)
        return False

    return gone


@pytest.fixture
def tuner(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Starts a process that runs Python code with autotune importable: the tuner that will be killed."""
    running: list[subprocess.Popen[str]] = []

    def start(code: str) -> subprocess.Popen[str]:
        root = str(Path(autotune.__file__).resolve().parents[1])
        # A killed tuner can't remove its child's directory: let it be where pytest does.
        environment = {**os.environ, "PYTHONPATH": root, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()
