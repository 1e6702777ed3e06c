"""Where commands print: what long ones show while they run (on stderr), and the console for results (on stdout)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from autotune.cli.silence import FIRST_S, LogSilence
from autotune.reporting import Remaining

__all__ = ["TerminalReporter", "natural_width", "stdout_console"]

_LOG_WIDTH = 2000
"""Columns where there is no terminal to fit: more than anything takes that is printed."""


LEFT_CHANGED = 0.1
"""Share by which the time left must have changed to be printed in a log again, before ``LEFT_EVERY_S``."""
LEFT_EVERY_S = 30.0
_REST = Column(ratio=1, no_wrap=True, overflow="ellipsis")


class TerminalReporter:
    """Implements ``Reporter``: a live bar on a terminal, plain lines in a log. Use as a context manager."""

    def __init__(self, *, json_lines: bool = False, silent_s: float = FIRST_S) -> None:
        """Draw on stderr.

        Args:
            json_lines: interim results are lines of JSON, for programs that read stderr.
            silent_s: seconds without a line after which a log says what is being done.
        """
        self._console = Console(stderr=True, highlight=False, emoji=False)
        self._live = self._console.is_terminal
        self._json_lines = json_lines
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            # What is long has what the others leave: a grid takes the width of long cells from every column.
            TextColumn("{task.fields[text]}", style="dim", markup=False, table_column=_REST),
            console=self._console,
            expand=True,
            transient=True,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._working: TaskID | None = None
        self._work = ""
        self._started = time.monotonic()
        self._left: tuple[float, float] | None = None
        """When the time left was last printed in a log, and what it was."""
        self._silence = None if self._live else LogSilence(self._timed, silent_s)

    def __enter__(self) -> Self:
        self._progress.start()
        if self._silence is not None:
            self._silence.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._silence is not None:
            self._silence.close()
        self._progress.stop()

    def note(self, text: str, *, loud: bool = False) -> None:
        """Print a line that stays above the progress bar."""
        self._line(text, style="bold yellow" if loud else None)

    def interim(self, text: str, facts: Mapping[str, Any]) -> None:
        """Print a line that stays: the text, or the facts as JSON."""
        self._line(json.dumps(facts) if self._json_lines else text)

    def working(self, text: str, detail: str = "") -> None:
        """The line below the bar, with the time since ``text`` came; in a log, a line where all else is silent."""
        if self._silence is not None:
            self._silence.working(text, detail)
            return
        if self._working is None:
            self._working = self._progress.add_task("", total=None, text="", left="", visible=False)
        if text != self._work:
            self._progress.reset(self._working)
        self._work = text
        self._progress.update(self._working, text=f"{text}: {detail}" if detail else text, visible=bool(text))

    def step(self, phase: str, done: int, total: int | None, text: str, left: Remaining | None = None) -> None:
        """Move the phase's bar; in a log, one line a step."""
        if phase not in self._tasks:
            for task in self._tasks.values():
                self._progress.update(task, visible=False)
            self._tasks[phase] = self._progress.add_task(phase, total=total, text="", left="")
        described = left.describe() if left else ""
        self._progress.update(self._tasks[phase], completed=done, total=total, text=text, left=described)
        if not self._live and text:
            count = f"{done}/{total}" if total else str(done)
            end = f" · {described}" if left and self._worth_a_line(left) else ""
            self._timed(f"{phase} {count}: {text}{end}")
            if self._silence is not None:
                self._silence.printed()

    def _worth_a_line(self, left: Remaining) -> bool:
        now_s = time.monotonic()
        if self._left is not None:
            printed_s, before_s = self._left
            if now_s - printed_s < LEFT_EVERY_S and abs(left.most_s - before_s) < LEFT_CHANGED * before_s:
                return False
        self._left = (now_s, left.most_s)
        return True

    def _line(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style, markup=False, soft_wrap=True)
        if self._silence is not None:
            self._silence.printed()

    def _timed(self, text: str) -> None:
        self._console.print(f"[{time.monotonic() - self._started:6.0f} s] {text}", markup=False, soft_wrap=True)


def stdout_console() -> Console:
    """The console for results: as wide as the terminal, in a log as wide as need be."""
    width = None if sys.stdout.isatty() else _LOG_WIDTH
    return Console(highlight=False, emoji=False, markup=False, width=width)


def natural_width(console: Console, content: RenderableType) -> int:
    """Columns that ``content`` takes where nothing limits it."""
    return Measurement.get(console, console.options.update(width=_LOG_WIDTH), content).maximum
