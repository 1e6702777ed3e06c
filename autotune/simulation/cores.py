"""Cores that work is shared out to: whoever wants more of them than there are gets an equal part, as threads do."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Cores", "Task"]


_LEAST_LEFT = 0.01
"""Share of the cores that is left to tasks where streams alone want more than there is: hopelessly late, not never."""


@dataclass(eq=False)
class Task:
    """Work that runs: a batch on an engine, or a reading thread's next piece."""

    left_s: float
    """Wall seconds that it would still take if it were alone on the machine."""
    threads: int
    """Cores that it keeps busy."""
    crowded_speed: float | None = None
    """How fast it is while all engines run, relative to alone: they share memory and clock. None: not an engine."""
    idle: bool = False
    """Whether its threads only spin: they take their part of the cores, and nothing else from anybody."""


class Cores:
    """The cores of one machine and the tasks that share them."""

    def __init__(self, cores: int, engines: int, beside: tuple[float, float] = (1.0, 1.0)) -> None:
        """No task runs.

        Args:
            cores: that are shared.
            engines: tasks that will be engines, at most.
            beside: how fast engines, and other tasks, are while some of both kinds run, relative to their equal part.
        """
        self._cores, self._engines, self._beside = cores, engines, beside
        self._tasks: list[Task] = []
        self._running = self._engine_threads = self._other_threads = self._idle_threads = 0
        """Engines among the tasks, their threads, those of the other tasks, and those that only spin."""
        self._background = 0.0
        self._speeds: list[float] = []
        """Of the tasks, in their order; empty: to be computed."""
        self._next_end_s = math.inf
        self.now_s = 0.0

    @property
    def background(self) -> float:
        """Cores that are busy with something else: open streams, a client on the same machine."""
        return self._background

    @background.setter
    def background(self, cores: float) -> None:
        self._background = cores
        self._speeds = []

    def begin(self, task: Task) -> None:
        """Let a task run from now on."""
        self._tasks.append(task)
        self._count(task, 1)

    def next_end_s(self) -> float:
        """When the next task ends if nothing else happens before; infinite where none runs."""
        if not self._tasks:
            return math.inf
        if not self._speeds:
            self._share_out()
            self._next_end_s = self.now_s + min(
                [task.left_s / speed for task, speed in zip(self._tasks, self._speeds, strict=True)]
            )
        return self._next_end_s

    def advance(self, to_s: float) -> list[Task]:
        """Let time pass, no further than the next end; the tasks that have ended, in the order in which they began."""
        elapsed_s = to_s - self.now_s
        if elapsed_s <= 0 and self.next_end_s() > to_s:
            return []
        if not self._speeds:
            self._share_out()
        least_s = 1e-12 * max(1.0, to_s)
        left: list[Task] = []
        ended: list[Task] = []
        for task, speed in zip(self._tasks, self._speeds, strict=True):
            task.left_s -= elapsed_s * speed
            # A rounding error of the clock must not leave a task with nothing left to do.
            (left if task.left_s > least_s else ended).append(task)
        self.now_s = to_s
        if ended:
            self._tasks = left
            for task in ended:
                self._count(task, -1)
        return ended

    def cancel(self, task: Task) -> None:
        """Let a task run no longer."""
        self._tasks.remove(task)
        self._count(task, -1)

    def _count(self, task: Task, change: int) -> None:
        if task.idle:
            self._idle_threads += change * task.threads
        elif task.crowded_speed is None:
            self._other_threads += change * task.threads
        else:
            self._running += change
            self._engine_threads += change * task.threads
        self._speeds = []

    def _share_out(self) -> None:
        engines_want = self._engine_threads
        want = engines_want + self._other_threads + self._idle_threads
        # Threads that need little of a core each get it at once; what runs all the time shares what they leave.
        left = max(_LEAST_LEFT * self._cores, self._cores - self._background)
        share = min(1.0, left / want) if want else 1.0
        # Engines that want more cores than there are were measured so: that is in ``crowded_speed``.
        of_engines = share / min(1.0, self._cores / engines_want) if engines_want else share
        if engines_want and self._other_threads:
            of_engines, share = of_engines * self._beside[0], min(1.0, share * self._beside[1])
        crowd = (self._running - 1) / (self._engines - 1) if self._engines > 1 else 1.0
        self._speeds = [
            share if task.crowded_speed is None else of_engines * (1 + (task.crowded_speed - 1) * crowd)
            for task in self._tasks
        ]
