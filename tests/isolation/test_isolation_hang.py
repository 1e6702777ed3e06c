"""A child that stands still in a load or a batch ends as hung, with its stacks; one that is slow or waits does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import TrialError, TrialHung
from autotune.isolation.stacks import stacks_in_words
from autotune.isolation.stillness import Watch

RunFault = Callable[..., dict[str, Any]]

SPAWNED = pytest.mark.parametrize("imports", [()], ids=["spawned"])
"""What is looked at is the same for a forked child; each of these takes seconds."""
STILL_S = 2.0
WATCH = Watch(still_s=STILL_S)
LONGER_S = 2.5 * STILL_S

FAULTHANDLER = """
Thread 0x00007f695c9f96c0 (most recent call first):
  File "/venv/lib/openvino/_ov_api.py", line 202 in infer
  File "/src/engine.py", line 78 in run

Thread 0x00007f695ddff6c0 (most recent call first):
  File "/venv/lib/openvino/_ov_api.py", line 202 in infer
  File "/src/engine.py", line 78 in run

Current thread 0x00007f6969272b80 (most recent call first):
  File "/usr/lib/threading.py", line 327 in wait
"""

PY_SPY = """Process 4242: python -m autotune.isolation.child 7 8
Python v3.11.7 (/usr/bin/python3.11)

Thread 4243 (idle): "autotune-engine-0"
    __cxa_guard_acquire (libstdc++.so.6.0.33)
    infer (openvino/_ov_api.py:202)
Thread 4242 (idle): "MainThread"
    wait (threading.py:327)
"""


@pytest.mark.parametrize("how", ["sleep", "sleep_with_the_gil", "sleep_beside_a_heartbeat"])
@pytest.mark.parametrize(("block", "doing"), [("batch", "an engine ran a batch"), ("load", "it loaded")])
def test_standing_still_is_a_hang_and_says_where(run_fault: RunFault, how: str, block: str, doing: str) -> None:
    with pytest.raises(TrialHung, match=f"selftest:run hung: while {doing}, no thread used 0.02 s of CPU") as caught:
        run_fault("slow", how=how, for_s=3600, blocks=[block], watch=WATCH)
    assert f"_{how} (selftest.py:" in str(caught.value)
    assert " < _slow (selftest.py:" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, TrialError)
    assert isinstance(caught.value, TimeoutError)


@SPAWNED
@pytest.mark.parametrize(
    ("how", "blocks"),
    [
        ("sleep", []),
        ("sleep", ["load", "waiting"]),
        ("compute_now_and_then", ["batch"]),
        ("compute_elsewhere", ["load"]),
        ("read_now_and_then", ["load"]),
        ("run_short_batches", ["load"]),
    ],
)
def test_waiting_and_slow_work_are_none(run_fault: RunFault, how: str, blocks: list[str]) -> None:
    assert run_fault("slow", how=how, for_s=LONGER_S, blocks=blocks, watch=WATCH) == {}


@SPAWNED
def test_what_computes_elsewhere_is_asked_for_at_every_look(run_fault: RunFault) -> None:
    asked = []

    def gpu_is_busy() -> bool:
        asked.append(True)
        return True

    watch = Watch(still_s=STILL_S, elsewhere=gpu_is_busy)
    assert run_fault("slow", how="sleep", for_s=LONGER_S, blocks=["batch"], watch=watch) == {}
    assert len(asked) > 5


@SPAWNED
def test_without_a_watch_nothing_is_a_hang(run_fault: RunFault) -> None:
    assert run_fault("slow", how="sleep", for_s=LONGER_S, blocks=["batch"]) == {}


@pytest.mark.parametrize(("status", "place"), [(0, "__cxa_guard_acquire"), (1, "_sleep (selftest.py:")])
def test_py_spy_is_preferred_where_it_is_installed_and_may_look(
    run_fault: RunFault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, place: str
) -> None:
    spy = tmp_path / "py-spy"
    spy.write_text(f"#!/bin/sh\ncat <<'END'\n{PY_SPY}END\nexit {status}\n", encoding="utf-8")
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(TrialHung) as caught:
        run_fault("slow", how="sleep", for_s=3600, blocks=["batch"], watch=WATCH)
    assert f"Its threads stood in: {place}" in str(caught.value)


@pytest.mark.parametrize(
    ("dump", "words"),
    [
        (FAULTHANDLER, "2 × infer (_ov_api.py:202) < run (engine.py:78); wait (threading.py:327)"),
        (
            PY_SPY,
            "__cxa_guard_acquire (libstdc++.so.6.0.33) < infer (openvino/_ov_api.py:202); wait (threading.py:327)",
        ),
        ("", ""),
    ],
)
def test_stacks_are_told_in_one_line(dump: str, words: str) -> None:
    assert stacks_in_words(dump) == words
