"""A trial that also says what became of its process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from autotune.isolation.child import Emit
from autotune.measure.trial import measure_task

__all__ = ["run"]


def run(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    """The measurement, the process's parent, the number of its threads, and its modules."""
    return {
        "measurement": measure_task(payload, emit),
        "parent": os.getppid(),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "modules": sorted(sys.modules),
    }
