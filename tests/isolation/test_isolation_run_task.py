"""What a task gets: payload, events, environment, CPUs; and what it leaves: nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.errors import DocumentError, TrialMismatch
from autotune.isolation import run_task
from autotune.isolation.start import THREAD_VARIABLES

RunFault = Callable[..., dict[str, Any]]


def test_payload_events_and_result_arrive_whole_and_in_order(run_fault: RunFault) -> None:
    events = [{"number": number, "text": "说话\n\x00"} for number in range(300)]
    heard: list[tuple[str, dict[str, Any]]] = []
    result = run_fault("echo", events=events, big="x" * 300_000, on_event=lambda *event: heard.append(event))
    assert heard == [("echo", event) for event in events]
    assert result["payload"] == {"fault": "echo", "events": events, "big": "x" * 300_000}


def test_thread_variables_and_cpus_are_in_force_before_anything_heavy_is_imported(run_fault: RunFault) -> None:
    cpu = min(os.sched_getaffinity(0))
    seen = run_fault("environment", cpus={cpu}, threads=3)
    assert {name: seen["variables"].get(name) for name in THREAD_VARIABLES} == dict.fromkeys(THREAD_VARIABLES, "3")
    assert seen["cpus"] == [cpu]
    assert seen["variables"]["PYTHONHASHSEED"] == "0"
    heavy = {"numpy", "torch", "funasr", "onnxruntime", "pydantic", "scipy", "optuna", "psutil", "yaml"}
    assert heavy.isdisjoint(seen["modules"])


def test_without_threads_and_cpus_the_child_has_what_the_parent_has(run_fault: RunFault) -> None:
    seen = run_fault("environment")
    inherited = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    assert {name: seen["variables"].get(name) for name in THREAD_VARIABLES} == inherited
    assert seen["cpus"] == sorted(os.sched_getaffinity(0))


def test_the_parents_environment_is_untouched(run_fault: RunFault) -> None:
    before = dict(os.environ)
    run_fault("echo", threads=2)
    assert dict(os.environ) == before


def test_cpus_that_are_not_there_are_a_mismatch(run_fault: RunFault) -> None:
    with pytest.raises(TrialMismatch, match=r"must run on CPUs \[4000\]"):
        run_fault("echo", cpus={4000})


def test_the_child_is_alone(run_fault: RunFault) -> None:
    seen = run_fault("environment")
    assert seen["session"] == seen["pid"] != os.getsid(0)
    assert seen["stdin"] == ""
    assert seen["oom_score_adj"] == 1000
    assert seen["cwd"] == seen["variables"]["TMPDIR"]
    # stdin, stdout, stderr, the pipe, the page of its activity (of which mmap keeps a descriptor of its own), and the
    # listing of /proc/self/fd itself: nothing else of the parent leaks.
    assert len(seen["open_files"]) <= 7


def test_the_working_directory_and_what_is_in_it_are_removed(run_fault: RunFault) -> None:
    folder = Path(run_fault("environment")["cwd"])
    assert folder.parent == Path(tempfile.gettempdir())
    assert not folder.exists()


def test_no_file_descriptor_is_left_behind(run_fault: RunFault) -> None:
    before = {entry.name for entry in Path("/proc/self/fd").iterdir()}
    run_fault("echo")
    with pytest.raises(DocumentError):
        run_fault("no such fault")
    assert {entry.name for entry in Path("/proc/self/fd").iterdir()} <= before


def test_run_task_works_in_a_thread(run_fault: RunFault) -> None:
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(run_fault("echo", value=1)))
    thread.start()
    thread.join()
    assert results == [{"payload": {"fault": "echo", "value": 1}}]


@pytest.mark.parametrize("task", ["os:getcwd", "autotune:load", "tests.isolation.selftest", "autotune.a:b;c", ""])
def test_only_functions_of_modules_in_packages_are_tasks(task: str) -> None:
    with pytest.raises(ValueError, match="a task must be"):
        run_task(task, {}, timeout_s=1)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan")])
def test_the_timeout_must_be_positive(timeout_s: float, run_fault: RunFault) -> None:
    with pytest.raises(ValueError, match="timeout_s must be positive"):
        run_fault("echo", timeout_s=timeout_s)


def test_what_on_event_raises_ends_the_child_and_is_passed_on(
    run_fault: RunFault, is_alive: Callable[[int], bool]
) -> None:
    pids: list[int] = []

    def stop(event: str, data: dict[str, Any]) -> None:
        pids.append(data["pid"])
        raise LookupError("hopeless")

    with pytest.raises(LookupError, match="hopeless"):
        run_fault("hang", on_event=stop)
    assert [is_alive(pid) for pid in pids] == [False]


def test_the_clock_starts_with_the_process_and_not_with_its_first_import() -> None:
    code = """
import time
time.sleep(0.3)
before = time.perf_counter()
from autotune.isolation.clock import process_started_s
print(before - process_started_s())
"""
    root = str(Path(autotune.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) >= 0.3 - 0.01  # the kernel counts in ticks of 10 ms


def test_a_descriptor_that_is_handed_on_has_the_same_number_there() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        seen = run_task(
            "tests.isolation.selftest:run", {"fault": "environment"}, timeout_s=60, inherited=(theirs.fileno(),)
        )
        assert f"{theirs.fileno()}" in seen["open_files"]
