"""Loops of several CPUs whose times a test says, and the clock that they move."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path

from autotune.measure.canary import Canary
from autotune.measure.loops import LoopTime


class ScriptedLoops:
    """Stands in for ``Loops``: each round has the next times, the last of which are repeated."""

    def __init__(self, *rounds: Mapping[int, float], own_s: float = 0.0, cpu_s: float = 0.0) -> None:
        """Remember the rounds; ``own_s`` of each loop is the process's own doing, a round really uses ``cpu_s``."""
        self.rounds, self.own_s, self.cpu_s = list(rounds), own_s, cpu_s
        self.now_s, self.paused_s, self.closed = 100.0, 0.0, 0
        self.cpus: Collection[int] = ()

    def __call__(self, cpus: Collection[int]) -> ScriptedLoops:
        self.cpus = cpus
        return self

    def round(self) -> dict[int, LoopTime]:
        times_s = self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]
        self.now_s += max(times_s.values(), default=0.0)
        until_s = time.process_time() + self.cpu_s
        while time.process_time() < until_s:
            pass
        return {cpu: LoopTime(time_s, time_s - self.own_s) for cpu, time_s in times_s.items()}

    def close(self) -> None:
        self.closed += 1

    def pause(self, seconds: float) -> None:
        self.now_s += seconds
        self.paused_s += seconds

    def canary(self, path: Path | None = None) -> Canary:
        return Canary(path, loops=self, now=lambda: self.now_s, pause=self.pause)
