"""When this process began: cold start is counted from there, interpreter and imports included."""

from __future__ import annotations

import os
import time
from pathlib import Path

__all__ = ["process_started_s"]

_IMPORTED_S = time.perf_counter()


def process_started_s() -> float:
    """The value that ``time.perf_counter()`` had when this process was created, to 10 ms.

    Where /proc is missing, the moment at which this module was imported.
    """
    try:
        # Field 22 of /proc/[pid]/stat; the second field may hold blanks, so count after its closing bracket.
        ticks = int(
            Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
        )
        # The start is counted from boot with suspension included, so the age needs the clock that counts it too.
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return _IMPORTED_S
    return min(_IMPORTED_S, time.perf_counter() - age_s)
