"""Running a task in a fresh, killable child process."""

from __future__ import annotations

from autotune.isolation.parent import run_task

__all__ = ["run_task"]
