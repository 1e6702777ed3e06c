"""What happens to the child when the tuner is interrupted, terminated or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

HANGING = """
import json, os
from autotune.isolation import run_task
def say(event, data):
    global pid
    pid = data["pid"]
    print(json.dumps(data), flush=True)
try:
    run_task("tests.isolation.selftest:run", {payload}, timeout_s=60, imports={imports}, on_event=say)
except KeyboardInterrupt:
    if not os.path.exists(f"/proc/{pid}"):
        print("reaped", flush=True)
"""

Start = Callable[[str], "subprocess.Popen[str]"]
Hanging = Callable[[str], tuple["subprocess.Popen[str]", dict[str, int]]]


@pytest.fixture
def hanging(tuner: Start, imports: tuple[str, ...]) -> Hanging:
    def start(payload: str) -> tuple[subprocess.Popen[str], dict[str, int]]:
        process = tuner(HANGING.replace("{payload}", payload).replace("{imports}", repr(imports)))
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    return start


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_child_dies_with_a_killed_tuner(hanging: Hanging, dies: Callable[[int], bool], number: int) -> None:
    process, pids = hanging('{"fault": "hang", "ignore_sigterm": True}')
    process.send_signal(number)
    assert process.wait(10) == -number
    assert dies(pids["pid"])


def test_ctrl_c_kills_and_reaps_the_whole_group(hanging: Hanging, is_alive: Callable[[int], bool]) -> None:
    process, pids = hanging('{"fault": "grandchild"}')
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (out, err) == ("reaped\n", "")
    assert not is_alive(pids["pid"])
    assert not is_alive(pids["grandchild"])


def test_a_second_ctrl_c_in_the_grace_period_still_kills(hanging: Hanging, dies: Callable[[int], bool]) -> None:
    process, pids = hanging('{"fault": "hang", "ignore_sigterm": True}')
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):  # the child ignores SIGTERM: the tuner waits out the grace
        process.wait(0.3)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert out == "reaped\n"
    assert dies(pids["pid"])


def test_ctrl_c_in_the_terminal_does_not_reach_the_child(hanging: Hanging, is_alive: Callable[[int], bool]) -> None:
    process, pids = hanging('{"fault": "hang"}')
    # A terminal signals its foreground process group; the child has a session, so a group, of its own.
    sessions = {pid: os.getsid(pid) for pid in (process.pid, pids["pid"])}
    assert sessions[pids["pid"]] == pids["pid"] != sessions[process.pid]
    assert is_alive(pids["pid"])
