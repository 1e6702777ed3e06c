"""Where commands print: what long ones show while they run (on stderr), and the console for results (on stdout)."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["TerminalReporter", "bytes_text", "natural_width", "stdout_console"]

_LOG_WIDTH = 2000
"""Columns where there is no terminal to fit: more than anything takes that is printed."""


class TerminalReporter:
    """Implements ``Reporter``: a live bar on a terminal, plain lines in a log. Use as a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}", style="dim"),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._working: TaskID | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, text: str, *, loud: bool = False) -> None:
        """A line that stays."""
        self._console.print(text, style="bold yellow" if loud else None, markup=False, soft_wrap=True)

    def working(self, text: str) -> None:
        """The line below the bar; nothing in a log, where it would only be noise."""
        if self._working is None:
            self._working = self._progress.add_task("", total=None, text="", visible=False)
        self._progress.update(self._working, description=text, visible=bool(text))

    def step(self, phase: str, done: int, total: int | None, text: str) -> None:
        """Move the phase's bar; in a log, one line a step."""
        if phase not in self._tasks:
            for task in self._tasks.values():
                self._progress.update(task, visible=False)
            self._tasks[phase] = self._progress.add_task(phase, total=total, text="")
        self._progress.update(self._tasks[phase], completed=done, total=total, text=text)
        if not self._live and text:
            count = f"{done}/{total}" if total else str(done)
            self._console.print(
                f"[{time.monotonic() - self._started:6.0f} s] {phase} {count}: {text}", markup=False, soft_wrap=True
            )


def stdout_console() -> Console:
    """The console for results: as wide as the terminal, in a log as wide as need be."""
    width = None if sys.stdout.isatty() else _LOG_WIDTH
    return Console(highlight=False, emoji=False, markup=False, width=width)


def natural_width(console: Console, content: RenderableType) -> int:
    """Columns that ``content`` takes where nothing limits it."""
    return Measurement.get(console, console.options.update(width=_LOG_WIDTH), content).maximum


def bytes_text(size: float) -> str:
    """``123 MiB``, ``1.2 GiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
