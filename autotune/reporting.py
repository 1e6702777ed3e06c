"""Reporter: the progress that long work reports; the command line draws it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Reporter", "Silent", "progress"]


class Reporter(Protocol):
    """Receives the progress of long work."""

    def note(self, text: str, *, loud: bool = False) -> None:
        """One line of information that stays."""
        ...

    def working(self, text: str) -> None:
        """What is being done right now, replaced by the next call; empty when nothing is."""
        ...

    def step(self, phase: str, done: int, total: int | None, text: str) -> None:
        """``done`` of ``total`` steps of a phase are over; ``text`` says what the last one gave."""
        ...


class Silent:
    """A reporter for programs that want no output."""

    def note(self, text: str, *, loud: bool = False) -> None:
        """Drop the line."""

    def working(self, text: str) -> None:
        """Show nothing of what is being done."""

    def step(self, phase: str, done: int, total: int | None, text: str) -> None:
        """Show nothing of a phase's progress."""


def progress(reporter: Reporter, text: str) -> Callable[[str, dict[str, Any]], None]:
    """An ``on_event`` for child tasks that shows their events after ``text``."""
    reporter.working(text)

    def on_event(name: str, data: dict[str, Any]) -> None:
        reporter.working(f"{text}: {data.get('text') or name}")

    return on_event
