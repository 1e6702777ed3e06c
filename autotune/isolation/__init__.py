"""Running a task in a fresh, killable child process."""

from __future__ import annotations

from autotune.isolation.parent import OnEvent, Stop, run_task
from autotune.isolation.several import side_by_side

__all__ = ["OnEvent", "Stop", "run_task", "side_by_side"]
