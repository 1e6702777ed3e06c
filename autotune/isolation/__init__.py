"""Running a task in a fresh, killable child process."""

from __future__ import annotations

from autotune.isolation.parent import Stop, run_task

__all__ = ["Stop", "run_task"]
