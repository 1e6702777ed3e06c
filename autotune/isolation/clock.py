"""When this process began: cold start is counted from there, interpreter and imports included."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["forked", "process_started_s"]


@dataclass
class _Start:
    latest_s: float
    """A moment at which this process was there."""
    imports_s: float = 0.0
    """What was done for it before it was there."""


_START = _Start(time.perf_counter())


def forked(imports_s: float) -> None:
    """This process was forked just now, and its parent needed ``imports_s`` to start and to import what both use.

    A user's process has to do the same, so its cold start is counted as if it had done it itself.
    """
    _START.latest_s, _START.imports_s = time.perf_counter(), imports_s


def process_started_s() -> float:
    """The value that ``time.perf_counter()`` had when this process was created, to 10 ms.

    Where /proc is missing, the moment at which this module was imported. A forked process counts the imports that it
    was spared.
    """
    try:
        # Field 22 of /proc/[pid]/stat; the second field may hold blanks, so count after its closing bracket.
        ticks = int(
            Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
        )
        # The start is counted from boot with suspension included, so the age needs the clock that counts it too.
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return _START.latest_s - _START.imports_s
    return min(_START.latest_s, time.perf_counter() - age_s) - _START.imports_s
