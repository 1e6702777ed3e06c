"""A child that answers once and then dies, as a runtime does whose kernels the CPU lacks."""

from __future__ import annotations

import os
import signal
from typing import Any

from autotune.isolation.child import Emit


def dying_task(payload: dict[str, Any], emit: Emit) -> dict[str, Any]:
    emit("tried", {"precision": payload["precisions"][0], "works": True, "detail": "Runtime 1"})
    os.kill(os.getpid(), signal.SIGILL)
    return {}
