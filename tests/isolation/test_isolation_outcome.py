"""Classification as a pure function, and the tail of what a child printed."""

from __future__ import annotations

import io
import signal
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autotune.errors import (
    AutotuneError,
    EngineUnavailableError,
    TrialCrashed,
    TrialError,
    TrialHung,
    TrialMismatch,
    TrialOutOfMemory,
    TrialTimeout,
)
from autotune.isolation.endings import TAIL_LINE_CHARACTERS, TAIL_LINES, Ending, classify, tail_of
from autotune.isolation.process import trim

TASK = "autotune.x:y"


def described(**changes: Any) -> dict[str, Any]:
    plain = {"classes": [], "type": "ValueError", "message": "no", "memory": False, "exit_code": None}
    return {**plain, "stderr_tail": "", "traceback": ["Traceback", "ValueError: no"], **changes}


@pytest.mark.parametrize(
    ("ending", "expected", "says"),
    [
        (Ending(TASK, exit_code=-9), TrialCrashed, "killed by SIGKILL"),
        (Ending(TASK, exit_code=-9, oom_killed=True), TrialOutOfMemory, "killed by the kernel"),
        (Ending(TASK, exit_code=-11, oom_killed=True), TrialCrashed, "SIGSEGV"),
        (Ending(TASK, exit_code=-9, oom_killed=True, timeout_s=2), TrialTimeout, "within 2 s"),
        (
            Ending(TASK, exit_code=-9, hung="while it loaded, …", last_event="warm"),
            TrialHung,
            "hung after 'warm': while",
        ),
        (Ending(TASK, exit_code=-6, stderr_tail="what():  std::bad_alloc"), TrialOutOfMemory, "aborted for lack"),
        (Ending(TASK, exit_code=-6, stderr_tail="assertion failed"), TrialCrashed, "SIGABRT"),
        (Ending(TASK, exit_code=-64), TrialCrashed, "SIGRTMAX"),
        (Ending(TASK, exit_code=-63), TrialCrashed, "signal 63"),
        (Ending(TASK, exit_code=1, last_event="warm"), TrialCrashed, "status 1 without a result after 'warm'"),
        (Ending(TASK, exit_code=None), TrialCrashed, "could not be reaped"),
        (Ending(TASK, exit_code=0, noise="b'x'"), TrialCrashed, "not its protocol"),
        (Ending(TASK, exit_code=-9, error=described()), TrialCrashed, "raised ValueError: no"),
        (Ending(TASK, error=described(memory=True, message="")), TrialOutOfMemory, "ran out of memory: ValueError"),
        (
            Ending(TASK, error=described(classes=["EngineUnavailableError", "AutotuneError"])),
            EngineUnavailableError,
            "no",
        ),
        (Ending(TASK, error=described(classes=["Mine", "TrialMismatch", "TrialError"])), TrialMismatch, "no"),
        (Ending(TASK, error=described(classes=["Mine", "AutotuneError"])), AutotuneError, "no"),
    ],
)
def test_each_ending_has_its_error(ending: Ending, expected: type[AutotuneError], says: str) -> None:
    error = classify(ending)
    assert type(error) is expected
    assert says in str(error)
    if isinstance(error, TrialError):
        assert ending.stderr_tail in error.stderr_tail


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate",
        "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 123",
        "Available memory of 1 is smaller than requested bytes of 2",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        "[Errno 12] Cannot allocate memory",
        "std::bad_alloc",
    ],
)
def test_every_runtimes_words_for_no_memory_are_known(message: str) -> None:
    assert isinstance(classify(Ending(TASK, error=described(message=message))), TrialOutOfMemory)


def test_a_tail_of_the_childs_own_error_is_preferred() -> None:
    inner = described(classes=["TrialCrashed"], stderr_tail="inner", exit_code=-signal.SIGBUS)
    error = classify(Ending(TASK, exit_code=0, error=inner, stderr_tail="outer"))
    assert isinstance(error, TrialCrashed)
    assert (error.stderr_tail, error.exit_code) == ("inner", -signal.SIGBUS)


@settings(deadline=None)
@given(st.binary(max_size=5000))
def test_a_tail_is_short_and_safe_on_a_terminal(raw: bytes) -> None:
    lines = tail_of(raw).split("\n")
    assert len(lines) <= TAIL_LINES
    assert all(len(line) <= TAIL_LINE_CHARACTERS for line in lines)
    assert not any(ord(character) < 32 and character != "\t" for line in lines for character in line)


@settings(deadline=None)
@given(st.lists(st.text(alphabet="abc 说", min_size=1, max_size=20).map(str.rstrip).filter(bool), max_size=100))
def test_a_tail_keeps_the_last_lines_in_order(lines: list[str]) -> None:
    assert tail_of("\n".join(lines).encode()) == "\n".join(lines[-TAIL_LINES:])


def test_a_progress_bar_leaves_its_last_state_and_colours_go() -> None:
    assert tail_of(b"\r 10%\r 50%\r100%\n\x1b[31mred\x1b[0m\r\n") == "100%\nred"


def test_a_log_that_outgrows_its_limit_is_freed_and_its_later_lines_stay_readable() -> None:
    with tempfile.TemporaryFile() as log:
        log.write(b"x" * (1 << 20))
        log.flush()
        trim(log, 2 << 20)
        assert log.seek(0, io.SEEK_END) == 1 << 20
        trim(log, 1 << 16)
        assert log.seek(0, io.SEEK_END) == 0
        log.seek(1 << 20)  # the child writes on where it was
        log.write(b"\nlast words\n")
        log.seek(1 << 20)
        assert tail_of(log.read()) == "last words"
