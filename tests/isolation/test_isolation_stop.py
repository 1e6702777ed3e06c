"""Ending a child from another thread, and never by a number that may be another process's by now."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.errors import TrialCrashed
from autotune.isolation import Stop, run_task
from autotune.isolation.start import Spawned
from tests.isolation.conftest import SELFTEST

PACKAGE = Path(autotune.__file__).parent


@pytest.fixture
def stop() -> Iterator[Stop]:
    made = Stop()
    yield made
    made.close()


@pytest.mark.parametrize("ignore_sigterm", [False, True])
def test_another_thread_ends_a_task_that_runs(
    stop: Stop, imports: tuple[str, ...], is_alive: Callable[[int], bool], ignore_sigterm: bool
) -> None:
    pids: list[int] = []

    def hangs(_: str, data: dict[str, Any]) -> None:
        pids.append(data["pid"])
        threading.Thread(target=stop.set).start()

    payload = {"fault": "hang", "ignore_sigterm": ignore_sigterm}
    with pytest.raises(TrialCrashed) as ended:
        run_task(SELFTEST, payload, timeout_s=60.0, imports=imports, on_event=hangs, stop=stop)
    assert ended.value.exit_code == (-9 if ignore_sigterm else -15)
    assert [is_alive(pid) for pid in pids] == [False]


def test_a_task_that_was_stopped_before_it_began_ends_as_soon_as_it_has(stop: Stop, imports: tuple[str, ...]) -> None:
    stop.set()
    stop.set()
    with pytest.raises(TrialCrashed):
        run_task(SELFTEST, {"fault": "hang"}, timeout_s=60.0, imports=imports, stop=stop)


def test_stopping_what_has_ended_touches_no_process() -> None:
    stop = Stop()
    assert run_task(SELFTEST, {"fault": "echo"}, timeout_s=60.0, stop=stop)
    for _ in range(100_000):
        stop.set()  # never blocks, however full
    stop.close()
    stop.set()


def test_a_child_without_a_pidfd_is_not_reaped_by_waiting_for_it() -> None:
    """Its number must stay its own until its group is killed."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    child = Spawned(process, exit_fd=None)
    assert not child.has_ended(0.1)
    assert process.stdin is not None
    process.stdin.close()
    assert child.has_ended(30.0)
    assert child.exit_code is None
    assert os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT) is not None
    child.reap()
    assert child.exit_code == 1


def test_nobody_but_isolation_signals_another_process() -> None:
    """Whoever else has a number can't know whether its process is reaped; a process may signal itself."""
    calls = [
        f"{path.relative_to(PACKAGE)}: {ast.unparse(node)}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.kill", "os.killpg")
        if ast.unparse(node.args[0]) != "os.getpid()"
    ]
    assert sorted(calls) == [
        "isolation/fork_server.py: os.killpg(pid, number)",
        "isolation/start.py: os.kill(self.pid, number)",
        "isolation/start.py: os.killpg(self.pid, number)",
    ]
