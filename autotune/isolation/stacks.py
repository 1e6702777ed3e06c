"""Where the threads of a process stand, asked from outside: its interpreter may be frozen."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from autotune.isolation.start import Handle

__all__ = ["STACKS_SIGNAL", "stacks_in_words", "stacks_of"]

STACKS_SIGNAL = signal.SIGUSR1
"""Makes ``faulthandler`` write the stacks of a child. It does so in the signal's handler, in C, without the GIL."""

_ANSWER_S = 3.0
_LOOK_S = 0.1
_SPY_S = 20.0
_LIMIT_BYTES = 1 << 18
_LIMIT_CHARACTERS = 6000
"""Longest text of stacks: it becomes part of an error's message."""
_PYTHON_FRAME = re.compile(r'File "(?P<file>.*)", line (?P<line>\d+|\?+) in (?P<name>.*)')


def stacks_of(process: Handle, fd: int, start: int) -> str:
    """The stacks of a process in one line, innermost frame first; says so where it doesn't answer.

    py-spy's, with native frames, if it is installed and may look; else those that ``faulthandler`` writes.

    Args:
        process: a child that has registered ``STACKS_SIGNAL``.
        fd: the file that it registered, open here.
        start: where in the file its stacks begin.
    """
    # py-spy first: where a runtime deadlocks, the native frames say why, and faulthandler has none.
    words = stacks_in_words(_py_spy(process.pid)) or stacks_in_words(_faulthandler(process, fd, start))
    return words or "unknown: it didn't answer"


def stacks_in_words(dump: str) -> str:
    """The threads of a dump of py-spy or ``faulthandler``; those that stand at the same place are counted.

    Numbers of threads and folders are left out, so that the same hang of another process reads the same.
    """
    stacks: list[list[str]] = []
    for line in dump.splitlines():
        if line.startswith(("Thread ", "Current thread ")):
            stacks.append([])
        elif stacks and (frame := _PYTHON_FRAME.search(line)):
            stacks[-1].append(f"{frame['name']} ({Path(frame['file']).name}:{frame['line']})")
        elif stacks and line.startswith("    "):  # py-spy writes frames like this itself
            stacks[-1].append(line.strip())
    counts = Counter(" < ".join(stack) for stack in stacks if stack)
    return "; ".join(stack if count == 1 else f"{count} × {stack}" for stack, count in counts.items())[
        :_LIMIT_CHARACTERS
    ]


def _py_spy(pid: int) -> str:
    program = shutil.which("py-spy")
    if program is None:
        return ""
    command = [program, "dump", "--native", "--pid", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SPY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _faulthandler(process: Handle, fd: int, start: int) -> str:
    process.send_signal(STACKS_SIGNAL)
    # Nothing says that it has written all: it has when the file no longer grows.
    size, until = start, time.monotonic() + _ANSWER_S
    while time.monotonic() < until:
        time.sleep(_LOOK_S)
        before, size = size, os.fstat(fd).st_size
        if size == before > start:
            break
    return os.pread(fd, _LIMIT_BYTES, start).decode("utf-8", "replace")
