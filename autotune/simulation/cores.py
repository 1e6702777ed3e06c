"""Cores that work is shared out to: whoever wants more of them than there are gets an equal part, as threads do."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Cores", "Task"]


@dataclass(eq=False)
class Task:
    """Work that runs: a batch on an engine, or a reading thread's next piece."""

    left_s: float
    """Wall seconds that it would still take if it were alone on the machine."""
    threads: int
    """Cores that it keeps busy."""
    crowded_speed: float | None = None
    """How fast it is while all engines run, relative to alone: they share memory and clock. None: not an engine."""


class Cores:
    """The cores of one machine and the tasks that share them."""

    def __init__(self, cores: int, engines: int) -> None:
        """No task runs; at most ``engines`` of them will be engines."""
        self._cores, self._engines = cores, engines
        self._tasks: list[Task] = []
        self._running = 0
        """Engines among the tasks."""
        self.background = 0.0
        """Cores that are busy with something else: open streams, a client on the same machine."""
        self.now_s = 0.0

    def begin(self, task: Task) -> None:
        """Let a task run from now on."""
        self._tasks.append(task)
        self._running += task.crowded_speed is not None

    def next_end_s(self) -> float:
        """When the next task ends if nothing else happens before; infinite where none runs."""
        speeds = self._speeds()
        return min(
            (self.now_s + task.left_s / speed for task, speed in zip(self._tasks, speeds, strict=True)),
            default=math.inf,
        )

    def advance(self, to_s: float) -> list[Task]:
        """Let time pass, no further than the next end; the tasks that have ended, in the order in which they began."""
        elapsed_s = to_s - self.now_s
        if elapsed_s > 0:
            for task, speed in zip(self._tasks, self._speeds(), strict=True):
                task.left_s -= elapsed_s * speed
        self.now_s = to_s
        # A rounding error of the clock must not leave a task with nothing left to do.
        ended = [task for task in self._tasks if task.left_s <= 1e-12 * max(1.0, to_s)]
        if ended:
            self._tasks = [task for task in self._tasks if task not in ended]
            self._running -= sum(task.crowded_speed is not None for task in ended)
        return ended

    def _speeds(self) -> list[float]:
        engines_want = sum(task.threads for task in self._tasks if task.crowded_speed is not None)
        want = engines_want + self.background + sum(task.threads for task in self._tasks if task.crowded_speed is None)
        share = min(1.0, self._cores / want) if want else 1.0
        # Engines that want more cores than there are were measured so: that is in ``crowded_speed``.
        of_engines = share / min(1.0, self._cores / engines_want) if engines_want else share
        crowd = (self._running - 1) / (self._engines - 1) if self._engines > 1 else 1.0
        return [
            share if task.crowded_speed is None else of_engines * (1 + (task.crowded_speed - 1) * crowd)
            for task in self._tasks
        ]
